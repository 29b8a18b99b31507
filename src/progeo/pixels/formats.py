"""Names that are at home in ``decoding``; to be removed when their callers have moved."""

from progeo.pixels.decoding import HEIC_EXTENSIONS, IMAGE_EXTENSIONS, can_open_heic, open_image

__all__ = ["HEIC_EXTENSIONS", "IMAGE_EXTENSIONS", "can_open_heic", "open_image"]
