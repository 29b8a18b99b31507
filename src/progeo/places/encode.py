"""Second step of indexing: from image files to rows of the database. It needs no database and keeps no state."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from progeo import remote
from progeo.errors import ProgeoError
from progeo.models.encoder import Encoder, Pixels
from progeo.pixels.recipe import to_pixels
from progeo.pixels.thumbnails import make_thumbnail
from progeo.places import objects
from progeo.places.plan import FROM_TABLE

Values = dict[str, Any]


@dataclass
class AddReport:
    """What ``PlaceDatabase.add`` did."""

    added: int = 0
    """New and changed photos that are now in the database."""
    kept: int = 0
    """Photos that were there already, unchanged."""
    failed: dict[str, str] = field(default_factory=dict)
    """Path of each photo that was left out, and why."""


@dataclass(frozen=True)
class Reading:
    """What came of reading a photo: the values to store and the pixels to encode, or why it is left out, or neither
    where the database holds it already.
    """

    path: str
    values: Values | None = None
    pixels: Pixels | None = None
    failure: str | None = None


def encode(slices: Iterable[pl.DataFrame], encoder: Encoder, report: AddReport, total: int) -> Iterator[list[Values]]:
    """Yield the rows to store, a batch at a time, and count the other photos in the report.

    Args:
        slices: of ``plan``.
        encoder: reads the photos and gives the descriptors.
        report: gets what is kept and what has failed.
        total: of photos, for the progress bar.
    """
    candidates = (row for part in slices for row in part.iter_rows(named=True))
    readings = encoder.read_ahead(partial(read_candidate, encoder=encoder), candidates, total)
    for batch, descriptors in encoder.encode_pixels(sort_out(readings, report)):
        rows = []
        for values, descriptor in zip(batch, descriptors, strict=True):
            if np.isfinite(descriptor).all():
                rows.append(values | {"descriptor": descriptor.astype(np.float16)})
            else:
                report.failed[values["path"]] = "the model gives NaN or infinity for it"
        yield rows


def read_candidate(candidate: Values, encoder: Encoder) -> Reading:
    """Read a photo, unless it is stored as it is; a row of ``plan`` says what is stored."""
    path, same_place = candidate["path"], candidate["same_place"]
    try:
        _, file_size, file_time = remote.describe(path)
        if same_place and (file_size, file_time) == (candidate["file_size"], candidate["file_time"]):
            return Reading(path)
        content = objects.read_photo(path)
        content_hash = hash_content(content)
        if same_place and content_hash == candidate["content_hash"]:
            return Reading(path)
        image = encoder.open(content, path)
        pixels = to_pixels(image, encoder.preprocessing)
    except ProgeoError as error:
        return Reading(path, failure=str(error))
    except OSError as error:
        return Reading(path, failure=f"The image {path} cannot be read: {error.strerror}.")
    values = {
        **{name: candidate[name] for name in FROM_TABLE},
        "id": make_id(path, content_hash),
        "content_hash": content_hash,
        "file_size": file_size,
        "file_time": file_time,
        "thumbnail": make_thumbnail(image),
    }
    return Reading(path, values, pixels)


def sort_out(readings: Iterable[Reading], report: AddReport) -> Iterator[tuple[Values, Pixels]]:
    """Yield the values and the pixels of each photo to encode, and enter the other photos in the report."""
    for reading in readings:
        if reading.values is not None and reading.pixels is not None:
            yield reading.values, reading.pixels
        elif reading.failure is not None:
            report.failed[reading.path] = reading.failure
        else:
            report.kept += 1


def hash_content(content: bytes) -> str:
    """Return what tells the content of a file from any other, wherever the file is."""
    return hashlib.sha256(content).hexdigest()


def make_id(path: str, content_hash: str) -> str:
    """Return 32 hexadecimal digits that name this content at this path and tell nothing of either."""
    return hashlib.sha256(f"{content_hash} {path}".encode()).hexdigest()[:32]
