"""Which image files are read, and opening them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from progeo.errors import ProgeoError

HEIC_EXTENSIONS = (".heic", ".heif")
IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".ppm", *HEIC_EXTENSIONS)


def open_image(path: str | Path | BinaryIO) -> Image.Image:
    """Open an image with Pillow, HEIC through pillow-heif; pixels are read when they are needed.

    Raises:
        ProgeoError: it is HEIC and that library is not installed. Otherwise what Pillow raises.
    """
    if str(path).lower().endswith(HEIC_EXTENSIONS) and not can_open_heic():
        raise ProgeoError(f'To read {path}, install the library for HEIC: pip install "progeo[heic]"')
    return Image.open(path)


@cache
def can_open_heic() -> bool:
    """Teach Pillow to open HEIC, and return whether pillow-heif is installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True
