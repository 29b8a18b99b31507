"""From an uploaded file to the model's pixels: its content decides what it is, its size is known before decoding."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from progeo.errors import ProgeoError
from progeo.pixels.decoding import TooLargeError, open_image
from progeo.pixels.recipe import Preprocessing, read_pixels
from progeo.serve.answers import refuse_content

# What cameras and phones write. Each further format is one that no photo needs and an attacker may.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "HEIF")


def read_upload(file: BinaryIO, name: str, preprocessing: Preprocessing, *, max_pixels: int) -> NDArray[np.uint8]:
    """Return the pixels (H, W, 3) that a model wants of an uploaded photo.

    Raises:
        HTTPException: 415 it is no photo of these formats, whatever it is called; 413 it has more than ``max_pixels``
            pixels, or is over a limit of all photos; 422 it is damaged. Each names the photo.
    """
    try:
        width, height = open_image(file, name=name, formats=FORMATS).size
        if width * height > max_pixels:
            raise TooLargeError(f"{name} has {width} x {height} pixels, more than {max_pixels / 1e6:g} megapixels.")
        return read_pixels(file, preprocessing, name=name, formats=FORMATS)
    except ProgeoError as error:
        raise refuse_content(error) from error
