"""The one reading recipe: from any source to the pixels that a model wants, everywhere in the same way."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from progeo.errors import ProgeoError
from progeo.pixels.decoding import (
    FORMATS,
    NotAPhotoError,
    TooLargeError,
    check_size,
    decode,
    describe_source,
    open_image,
    prepare_decoding,
)
from progeo.plain import read_dataclass, show

if TYPE_CHECKING:
    import torch

    Source = str | Path | bytes | BinaryIO | Image.Image | NDArray[Any] | torch.Tensor

__all__ = [
    "NotAPhotoError",
    "Preprocessing",
    "TooLargeError",
    "find_excess",
    "list_sources",
    "open_photo",
    "read_pixels",
    "to_pixels",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
THUMBNAIL_SIDE = 320
MAX_SCALED_PIXELS = 2**25
MAX_SIDE = math.isqrt(MAX_SCALED_PIXELS)
"""Pixels that a model may ask for on the shorter side."""
SMALLEST_STD = 1e-6
LARGEST_MEAN = 1e6
INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Preprocessing:
    """The size and normalisation that a network wants its photos in.

    Attributes:
        image_size: pixels of the shorter side.
        mean, std: per RGB channel, for values in [0, 1].
        interpolation: the resampling filter, ``bilinear`` or ``bicubic``, both antialiased.
        square: photos become ``image_size`` by ``image_size``; otherwise they keep their aspect ratio.
        native: photos keep their size, as some protocols have it.
        native_limit: with ``native``, photos with a longer shorter side are shrunk to it.
    """

    image_size: int = 512
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "bilinear"
    square: bool = False
    native: bool = False
    native_limit: int | None = None

    def __post_init__(self) -> None:
        """Raise ProgeoError if a value cannot be."""
        limit = 1 if self.native_limit is None else self.native_limit
        for name, size in (("image_size", self.image_size), ("native_limit", limit)):
            if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= MAX_SIDE:
                raise ProgeoError(f"`{name}` must be a whole number of pixels from 1 to {MAX_SIDE}, not {show(size)}.")
        if self.interpolation not in [*INTERPOLATIONS]:
            raise ProgeoError(f"`interpolation` is {' or '.join(INTERPOLATIONS)}, not {show(self.interpolation)}.")
        numbers = [*self.mean, *self.std]
        are_three = len(self.mean) == len(self.std) == 3 and all(map(_is_number, numbers))
        if not are_three or min(self.std) < SMALLEST_STD:
            raise ProgeoError(
                f"`mean` and `std` are three numbers each, for values in [0, 1], not "
                f"{show(self.mean)} and {show(self.std)}."
            )
        if self.square and self.native:
            raise ProgeoError(f"This model takes photos of {self.image_size} x {self.image_size} pixels only.")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; what concerns native size only where it is used, as it came later."""
        content = dataclasses.asdict(self)
        if not self.native:
            del content["native"], content["native_limit"]
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Preprocessing:
        """Return what ``to_dict`` made plain; raises ValueError or ProgeoError where it is damaged."""
        return read_dataclass(cls, content, required=("mean", "std"))

    def describe(self) -> str:
        """Return the size in words."""
        if self.native:
            limit = f", at most {self.native_limit} px on the shorter side" if self.native_limit else ""
            return f"native size{limit}"
        size = self.image_size
        return f"{size} x {size} px" if self.square else f"{size} px on the shorter side"

    def find_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height that a photo of this width and height is brought to."""
        shorter, longer = sorted((width, height))
        if self.square:
            return self.image_size, self.image_size
        wanted = min(shorter, self.native_limit or shorter) if self.native else self.image_size
        # The longer side is cut to whole pixels, as torchvision does.
        scaled = max(1, wanted * longer // shorter)
        return (wanted, scaled) if width <= height else (scaled, wanted)


def list_sources(photos: Source | Iterable[Source]) -> list[Source]:
    """Return photos as a list; a path, the content of a file, an image, an array or a tensor of one photo is one."""
    one = isinstance(photos, str | bytes | Path | Image.Image) or hasattr(photos, "read")
    if one or getattr(photos, "ndim", 0) in (2, 3):
        return [photos]  # type: ignore[list-item]
    return list(photos)  # type: ignore[arg-type]


def read_pixels(
    source: Source, preprocessing: Preprocessing, *, name: str | None = None, formats: Sequence[str] = FORMATS
) -> NDArray[np.uint8]:
    """Return the pixels (H, W, 3) that a model wants of a photo: ``open_photo``, then ``to_pixels``."""
    return to_pixels(open_photo(source, preprocessing, name=name, formats=formats), preprocessing)


def open_photo(
    source: Source, preprocessing: Preprocessing, *, name: str | None = None, formats: Sequence[str] = FORMATS
) -> Image.Image:
    """Return a photo as upright RGB, with enough pixels for the model and for a thumbnail.

    A large JPEG is decoded at 1/2, 1/4 or 1/8 of its size, as long as its shorter side keeps twice the model's size and
    that of a thumbnail; everything else comes whole.

    Args:
        source: a path, the content of a file (bytes or an open file), an image of Pillow, an array (H, W, 3) or (H, W),
            or a tensor (3, H, W); arrays and tensors are uint8, or floats in [0, 1].
        preprocessing: what the model wants.
        name: what errors call the photo; without it its path.
        formats: what encoded photos may be, by Pillow's names.

    Raises:
        NotAPhotoError: it is no image.
        TooLargeError: it is over a limit on pixels or aspect ratio; nothing was decoded.
        ProgeoError: there is no such file, or it is damaged.
    """
    name = name or describe_source(source)
    if isinstance(source, str | Path | bytes) or hasattr(source, "read"):
        with open_image(source, name=name, formats=formats) as image:  # type: ignore[arg-type]
            _check_scaled(preprocessing, image.size, name)
            return decode(image, name, _find_shorter_side(preprocessing))
    image = source if isinstance(source, Image.Image) else _from_array(source, name)
    _check_scaled(preprocessing, image.size, name)
    return decode(image, name)


def find_excess(path: str, wanted: Iterable[Preprocessing]) -> str | None:
    """Return why a photo file is over a limit of size or shape as a model wants it, by its head alone; else None.

    What else is wrong with it is not looked for.
    """
    try:
        for preprocessing in wanted:
            with open_image(path) as image:
                _check_scaled(preprocessing, image.size, path)
                prepare_decoding(image, path, _find_shorter_side(preprocessing))
    except TooLargeError as error:
        return str(error)
    except ProgeoError:
        pass
    return None


def to_pixels(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Return the pixels (H, W, 3) of an upright RGB image at the model's size, resized in one step, antialiased."""
    _check_scaled(preprocessing, image.size, describe_source(image))
    size = preprocessing.find_size(*image.size)
    if image.size != size:
        image = image.resize(size, INTERPOLATIONS[preprocessing.interpolation])
    return np.array(image)


def _is_number(value: object) -> bool:
    """Whether a value is a number that pixels can be shifted or divided by."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_MEAN


def _find_shorter_side(preprocessing: Preprocessing) -> int | None:
    """Return the shorter side that a reduced JPEG must keep, None where it is not reduced."""
    wanted = preprocessing.native_limit if preprocessing.native else preprocessing.image_size
    return None if wanted is None else max(2 * wanted, THUMBNAIL_SIDE)


def _check_scaled(preprocessing: Preprocessing, size: tuple[int, int], name: str) -> None:
    check_size(size, name)
    width, height = preprocessing.find_size(*size)
    if not preprocessing.native and width * height > MAX_SCALED_PIXELS:
        raise TooLargeError(
            f"The image {name} would have {width} x {height} pixels at the model's size ({preprocessing.describe()}), "
            f"more than {MAX_SCALED_PIXELS / 1e6:.0f} megapixels. Crop it, or take a model of smaller photos."
        )


def _from_array(source: object, name: str) -> Image.Image:
    """Return an array (H, W, 3) or (H, W), or a tensor (3, H, W), as an image."""
    torch = sys.modules.get("torch")  # whoever has a tensor has imported it
    if torch is not None and isinstance(source, torch.Tensor):
        pixels = (source.detach().cpu().float() if source.is_floating_point() else source.cpu()).numpy()
        shape = "(3, H, W)"
        array = np.moveaxis(pixels, 0, -1) if pixels.ndim == 3 and len(pixels) == 3 else None
    elif isinstance(source, np.ndarray):
        pixels, shape = source, "(H, W, 3) or (H, W)"
        array = pixels if pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3) else None
    else:
        raise NotAPhotoError(
            f"The image {name} is no photo: give a path, bytes, an open file, an image of Pillow, an array or a tensor."
        )
    if array is None:
        raise NotAPhotoError(f"The image {name} has the shape {pixels.shape} instead of {shape}.")
    check_size((array.shape[1], array.shape[0]), name)
    if array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())
        if not (low >= 0.0 and high <= 1.0):
            raise NotAPhotoError(f"The image {name} has values from {low:g} to {high:g}; floats must be in [0, 1].")
        array = np.rint(array * 255.0).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise NotAPhotoError(f"The image {name} is {array.dtype}; it must be uint8, or floats in [0, 1].")
    return Image.fromarray(np.ascontiguousarray(array))
