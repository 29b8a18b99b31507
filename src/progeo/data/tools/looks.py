"""Reading every photo once: whether it can be read, what its file holds, and what it looks like in 128 bits."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from PIL import Image, ImageOps

from progeo.console import progress_bar
from progeo.files import read_bytes
from progeo.pixels.decoding import open_image
from progeo.pixels.prefetch import read_ahead

WORDS = 8
"""A look is this many words of 16 bits."""
DECODED_SIDE = 64
"""JPEGs are decoded at 1/2, 1/4 or 1/8 of their size as long as both sides keep this many pixels."""
FLAT = 3.0
"""Standard deviation of grey values below which a photo shows nothing to be compared by."""


@dataclass(frozen=True, eq=False)
class Looks:
    """What was read of I photos.

    Attributes:
        problems: (I,) string, why a photo cannot be read; null where it can.
        contents: (I,) string, a hash of the file; null where it cannot be opened.
        looks: (I, WORDS) uint16, see ``describe_look``.
        comparable: (I,) bool, whether there is enough in the photo to be compared by its look.
    """

    problems: pl.Series
    contents: pl.Series
    looks: npt.NDArray[np.uint16]
    comparable: npt.NDArray[np.bool_]


def read_looks(paths: pl.Series, num_workers: int | None = None) -> Looks:
    """Read photos in threads, with a progress bar."""
    rows = []
    with progress_bar() as bar:
        task = bar.add_task("Reading photos", total=len(paths))
        for row in read_ahead(_read_photo, paths, num_workers=num_workers):
            rows.append(row)
            bar.advance(task)
    nothing = np.zeros(WORDS, np.uint16)
    return Looks(
        problems=pl.Series([row.get("problem") for row in rows], dtype=pl.String),
        contents=pl.Series([row.get("content") for row in rows], dtype=pl.String),
        looks=np.array([row.get("look", nothing) for row in rows]).reshape(-1, WORDS),
        comparable=np.array([row.get("comparable", False) for row in rows], dtype=bool),
    )


def describe_look(image: Image.Image) -> tuple[npt.NDArray[np.uint16], bool]:
    """Return what a photo looks like, uint16 (WORDS,), and whether it shows enough to be compared.

    Source: the difference hash of N. Krawetz, "Kind of Like That" (2013), in both directions. On 9 x 9 grey values, 64
    bits say whether each is brighter than its right neighbour, and 64 whether it is brighter than the one below.
    Compressing, resizing and brightening leave nearly all of them as they are.
    """
    grey = np.asarray(image.convert("L").resize((9, 9), Image.Resampling.BOX), dtype=np.int16)
    bits = np.concatenate([(grey[:8, :8] > grey[:8, 1:]).ravel(), (grey[:8, :8] > grey[1:, :8]).ravel()])
    return np.packbits(bits).view(np.uint16), bool(grey.std() >= FLAT)


def _read_photo(path: str) -> dict[str, Any]:
    try:
        content = blake2b(read_bytes(path), digest_size=16).hexdigest()
    except OSError as error:
        return {"problem": error.strerror or str(error)}
    try:
        with open_image(path) as image:
            image.draft("L", (DECODED_SIDE, DECODED_SIDE))
            image.load()
            look, comparable = describe_look(ImageOps.exif_transpose(image))
    except MemoryError:
        raise
    except Exception as error:  # on damaged files Pillow raises nearly everything
        return {"content": content, "problem": str(error)}
    return {"content": content, "look": look, "comparable": comparable}
