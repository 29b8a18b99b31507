"""Scripts for those who work on progeo."""
