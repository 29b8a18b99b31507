"""From an image file to pixels: every format, colour mode and orientation that real photo folders hold.

Pillow decodes, as in the published code, so that pixels and thus descriptors agree with it; it also reads JPEGs at a
fraction of their size where they are shrunk anyway, and reports truncated files instead of filling them with grey.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps

from progeo.errors import ProgeoError
from progeo.pixels.formats import open_image


def read_image(
    path: str | Path | BinaryIO, shorter_side: int | None = None, *, name: str | None = None
) -> torch.Tensor:
    """Read an image as RGB, turned upright as its EXIF orientation says.

    Args:
        path: a JPEG, PNG, WebP or HEIC file, or its open content, in any colour mode; transparent parts become white.
        shorter_side: a larger image is shrunk, antialiased and with its aspect ratio kept, until its shorter side has
            this many pixels.
        name: what errors call the image; without it the path.

    Returns:
        uint8 tensor (3, H, W).

    Raises:
        ProgeoError: the file is missing, is no image, is truncated or has too many pixels; the message names it.
    """
    name = name or str(path)
    try:
        with open_image(path) as image:
            if shorter_side is not None:
                # A JPEG can be decoded at 1/2, 1/4 or 1/8: twice the final size leaves the shrinking to antialias.
                image.draft(None, (2 * shorter_side, 2 * shorter_side))
            upright = _to_rgb(ImageOps.exif_transpose(image))
            pixels = upright if shorter_side is None else _shrink(upright, shorter_side)
    except FileNotFoundError as error:
        raise ProgeoError(f"There is no image {name}.") from error
    except Image.DecompressionBombError as error:
        raise ProgeoError(f"The image {name} is too large: {error}") from error
    except (ProgeoError, MemoryError):
        raise  # one says enough, the other nothing about the image
    except Exception as error:  # on damaged files Pillow raises nearly everything
        raise ProgeoError(f"The image {name} cannot be read, it may be damaged: {error}") from error
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)


def _shrink(image: Image.Image, shorter_side: int) -> Image.Image:
    """Return the image with at most ``shorter_side`` pixels along its shorter side, antialiased."""
    scale = shorter_side / min(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BILINEAR)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return the image in RGB; 16-bit grey is scaled and transparency laid on white."""
    if image.mode.startswith("I") or image.mode == "F":
        grey = np.asarray(image, dtype=np.float64)
        brightest = 1.0 if image.mode == "F" and grey.max(initial=0.0) <= 1.0 else 65535.0
        return Image.fromarray((grey / brightest * 255.0).round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
