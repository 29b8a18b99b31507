"""Small pictures for pages and maps."""

from __future__ import annotations

import io

from PIL import Image

from progeo.pixels.recipe import THUMBNAIL_SIDE

THUMBNAIL_QUALITY = 80


def make_thumbnail(image: Image.Image, side: int = THUMBNAIL_SIDE) -> bytes:
    """Return an RGB image as a JPEG of at most ``side`` by ``side`` pixels, its aspect ratio kept."""
    thumbnail = image.copy()
    thumbnail.thumbnail((side, side))
    jpeg = io.BytesIO()
    thumbnail.save(jpeg, format="JPEG", quality=THUMBNAIL_QUALITY)
    return jpeg.getvalue()
