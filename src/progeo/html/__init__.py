"""The pages that are files: one HTML file each, from templates and plain data."""
