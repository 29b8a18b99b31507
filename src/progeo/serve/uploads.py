"""From an uploaded file to pixels: the content decides what it is, and its size is known before it is decoded."""

from __future__ import annotations

import warnings
from typing import BinaryIO

import torch
from fastapi import HTTPException
from PIL import Image, UnidentifiedImageError

from progeo.errors import ProgeoError
from progeo.pixels.decoding import read_image
from progeo.pixels.formats import can_open_heic

# What cameras and phones write. Pillow knows dozens more, which no photo needs and an attacker may.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "HEIF")


def read_upload(file: BinaryIO, name: str, *, max_pixels: int, image_size: int) -> torch.Tensor:
    """Decode an uploaded photo, turned upright, no larger than a model of this ``image_size`` needs.

    Returns:
        uint8 tensor (3, H, W).

    Raises:
        HTTPException: 415 it is no photo, whatever it is called; 413 it has more than ``max_pixels`` pixels; 422 it is
            damaged. Each names the photo.
    """
    width, height = _read_size(file, name)
    if width * height > max_pixels:
        raise HTTPException(413, f"{name} has {width} x {height} pixels, more than {max_pixels / 1e6:g} megapixels.")
    file.seek(0)
    try:
        # Twice the size, so that the last step is the model's own way of resizing.
        return read_image(file, shorter_side=2 * image_size, name=name)
    except ProgeoError as error:
        raise HTTPException(422, str(error)) from error


def _read_size(file: BinaryIO, name: str) -> tuple[int, int]:
    """Return width and height from the file's head."""
    Image.init()
    can_open_heic()
    formats = [known for known in FORMATS if known in Image.OPEN]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(file, formats=formats)
    except UnidentifiedImageError as error:
        readable = ", ".join(known for known in formats if known != "MPO")  # phones' JPEG of several pictures
        raise HTTPException(415, f"{name} is not a photo of a kind that can be read ({readable}).") from error
    except Image.DecompressionBombError as error:
        raise HTTPException(413, f"{name} has too many pixels.") from error
    except Exception as error:  # on damaged files Pillow raises nearly everything
        raise HTTPException(422, f"{name} cannot be read, it may be damaged: {error}") from error
    return image.size
