"""progeo: where was this photo taken? Visual place recognition, from geotagged street photos to positions."""
