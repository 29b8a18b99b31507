"""From an image to upright RGB: every format, colour mode and orientation that real photo folders hold.

Pillow decodes, as in the published code, so that pixels and thus descriptors agree with it; it also reads JPEGs at a
fraction of their size where they are shrunk anyway, and reports truncated files instead of filling them with grey.
Its plugins are asked directly: what is too large is decided here, before anything is decoded, and without a change to
Pillow's settings, which belong to everyone in the process.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from progeo.errors import ProgeoError, how_to_install
from progeo.remote import is_remote, read_photo

HEIC_EXTENSIONS = (".heic", ".heif", ".hif")
IMAGE_EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".mpo", ".png", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".jp2"),
    *(".ppm", ".pgm", ".pnm"),
    *HEIC_EXTENSIONS,
)
"""What the names of photos end with where a folder is listed; a file that is named is opened whatever it is called."""

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "HEIF", "AVIF", "PPM", "TIFF", "BMP", "GIF", "JPEG2000", "TGA")
"""What is read, whatever the file is called. Pillow knows more, some of which run other programs."""

MAX_PIXELS = 2**28
"""Pixels that a photo may have; those of cameras have up to 200 million."""
MAX_DECODED_PIXELS = 180_000_000
"""Pixels that are decoded at most, in 540 MB; of JPEGs those after reduction."""
MAX_ASPECT_RATIO = 500

HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


class NotAPhotoError(ProgeoError):
    """What was given is no image, or none of a kind that is read."""


class TooLargeError(ProgeoError):
    """An image is over a limit on pixels or aspect ratio; nothing of it was decoded."""


def open_image(
    source: str | Path | bytes | BinaryIO, *, name: str | None = None, formats: Sequence[str] = FORMATS
) -> Image.Image:
    """Open an encoded image by its content; pixels are decoded when they are needed.

    Args:
        source: a regular file, an address such as ``s3://bucket/photo.jpg``, or the content of one, open or as bytes.
        name: what errors call the image; without it the path.
        formats: Pillow's names of the formats that are read.

    Raises:
        NotAPhotoError: it is no image of these formats.
        TooLargeError: it is over a limit.
        ProgeoError: there is no such file, it is damaged, or it is HEIC and the library for that is missing.
    """
    name = name or describe_source(source)
    if isinstance(source, str) and is_remote(source):
        source = read_photo(source)
    is_path = isinstance(source, str | Path)
    file: BinaryIO | None = None
    try:
        if isinstance(source, str | Path):
            if not stat.S_ISREG(Path(source).stat().st_mode):  # a pipe would be waited for
                raise NotAPhotoError(f"The image {name} cannot be read: it is no regular file.")
            file = Path(source).open("rb")  # noqa: SIM115
        else:
            file = BytesIO(source) if isinstance(source, bytes) else source
        image = _identify(file, name, formats)
        check_size(image.size, name)
    except FileNotFoundError as error:
        raise ProgeoError(f"There is no image {name}.") from error
    except (ProgeoError, MemoryError):
        if file is not None and is_path:
            file.close()
        raise
    except Exception as error:  # on damaged files Pillow raises nearly everything
        if file is not None and is_path:
            file.close()
        raise explain_damage(name, error) from error
    image._exclusive_fp = is_path  # type: ignore[attr-defined]
    return image


def _identify(file: BinaryIO, name: str, formats: Sequence[str]) -> Image.Image:
    """Return the image of the first format that takes the file, not yet decoded."""
    file.seek(0)
    prefix = file.read(16)
    lacks_library = prefix[4:8] == b"ftyp" and prefix[8:12] in HEIF_BRANDS and not can_open_heic()
    Image.init()
    for kind in formats:
        factory, accepts = Image.OPEN.get(kind, (None, None))
        verdict = accepts is None or accepts(prefix)
        if factory is None or not verdict or isinstance(verdict, str):  # a text is a reason not to take it
            continue
        file.seek(0)
        try:
            return factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error):  # how plugins say that it is not theirs
            continue
    # Asked of any file, so that the formats named here do not depend on whether a HEIC was met before.
    if not can_open_heic() and (lacks_library or name.lower().endswith(HEIC_EXTENSIONS)):
        raise ProgeoError(f"To read {name}, install the library for HEIC: {how_to_install('heic')}")
    known = ", ".join(kind for kind in formats if kind in Image.OPEN and kind != "MPO")  # phones' JPEG of several
    raise NotAPhotoError(f"The image {name} cannot be read, it may be damaged: it is none of {known}.")


def check_size(size: tuple[int, int], name: str) -> None:
    """Raise TooLargeError if an image of this width and height has too many pixels, or is a thread."""
    width, height = size
    if min(size) < 1:
        raise NotAPhotoError(f"The image {name} has no pixels ({width} x {height}).")
    if width * height > MAX_PIXELS:
        raise TooLargeError(
            f"The image {name} is too large: {width} x {height} pixels, more than {MAX_PIXELS / 1e6:.0f} megapixels."
        )
    if max(size) > MAX_ASPECT_RATIO * min(size):
        raise TooLargeError(
            f"The image {name} is no photo of a place: {width} x {height} pixels, one side more than "
            f"{MAX_ASPECT_RATIO} times as long as the other."
        )


def decode(image: Image.Image, name: str, shorter_side: int | None = None) -> Image.Image:
    """Return an opened image as upright RGB, as its EXIF orientation says; transparent parts become white.

    Args:
        image: from ``open_image``, or any image of Pillow; it is left as it is, but a file is read and closed.
        name: what errors call it.
        shorter_side: a JPEG is decoded at 1/2, 1/4 or 1/8 of its size where this many pixels are left of its shorter
            side; None decodes it whole.

    Raises:
        TooLargeError: there are too many pixels to decode.
        ProgeoError: it is damaged.
    """
    check_size(image.size, name)
    try:
        prepare_decoding(image, name, shorter_side)
        return _to_rgb(ImageOps.exif_transpose(image))
    except (ProgeoError, MemoryError):
        raise  # one says enough, the other nothing about the image
    except Exception as error:
        raise explain_damage(name, error) from error


def prepare_decoding(image: Image.Image, name: str, shorter_side: int | None) -> None:
    """Have a JPEG decoded at a fraction of its size, as ``decode`` says; nothing is decoded yet.

    Raises:
        TooLargeError: there are too many pixels to decode.
    """
    if shorter_side is not None:
        image.draft(None, (shorter_side, shorter_side))
    if image.width * image.height > MAX_DECODED_PIXELS:
        raise TooLargeError(
            f"The image {name} is too large: {image.width} x {image.height} pixels, more than the "
            f"{MAX_DECODED_PIXELS / 1e6:.0f} megapixels that can be decoded. As a JPEG it could be read smaller."
        )


def explain_damage(name: str, error: Exception) -> ProgeoError:
    """Return the error for an image that could not be read."""
    if isinstance(error, OSError) and error.strerror:
        return ProgeoError(f"The image {name} cannot be read: {error.strerror}.")
    return ProgeoError(f"The image {name} cannot be read, it may be damaged: {error}")


def describe_source(source: object) -> str:
    """Return what errors call an image: its path, or as what it was given."""
    if isinstance(source, str | Path):
        return str(source)
    path = getattr(source, "filename", None) or getattr(source, "name", None)
    return path if isinstance(path, str) and path else f"given as {type(source).__name__}"


@cache
def can_open_heic() -> bool:
    """Teach Pillow to open HEIC, and return whether pillow-heif is installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


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
