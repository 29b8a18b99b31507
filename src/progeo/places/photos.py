"""From a photo file to what the place database keeps of it."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import torch
from PIL import Image

from progeo.errors import ProgeoError
from progeo.images.decoding import read_image

THUMBNAIL_SIDE = 320
THUMBNAIL_QUALITY = 80


def read_for_description(path: str | Path, image_size: int) -> torch.Tensor:
    """Read an image as uint8 (3, H, W); from a large one no more pixels than a model of this size can tell apart."""
    # Twice the size, so that the last step is the model's own way of resizing.
    return read_image(path, shorter_side=2 * image_size)


def hash_file(path: str) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise ProgeoError(f"The image {path} cannot be read: {error.strerror}.") from error


def make_thumbnail(image: torch.Tensor) -> bytes:
    """Return an image, uint8 (3, H, W), as a small JPEG."""
    thumbnail = Image.fromarray(image.permute(1, 2, 0).numpy())
    thumbnail.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    jpeg = io.BytesIO()
    thumbnail.save(jpeg, format="JPEG", quality=THUMBNAIL_QUALITY)
    return jpeg.getvalue()
