"""Results of locating, one file a format."""
