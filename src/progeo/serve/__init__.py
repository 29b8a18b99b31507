"""The HTTP service and the web page: photos in, positions out."""
