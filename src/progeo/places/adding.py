"""Adding photos to a place database: only what is new or has changed, in commits that an interruption cannot split."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import torch

from progeo.data.located import take_located
from progeo.data.timestamps import normalise_timestamps, parse_timestamps
from progeo.errors import ProgeoError
from progeo.places import storage
from progeo.places.describing import Describer, make_thumbnail

SECONDS_PER_COMMIT = 10.0
PHOTOS_PER_COMMIT = 4096
SAME_DEGREES = 1e-9
START_OF_YEAR = "YYYY-01-01T00:00:00"
FROM_TABLE = ("path", "latitude", "longitude", "utm_east", "utm_north", "utm_zone", "heading", "timestamp")
TO_COMPARE = ("path", "content_hash", "file_size", "file_time", "latitude", "longitude", "heading", "timestamp")
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
    """What came of reading a photo: the values to store and the image to describe, or why it is left out, or neither
    where the database holds it already.
    """

    path: str
    values: Values | None = None
    image: torch.Tensor | None = None
    failure: str | None = None


def add_photos(photos: Any, table: pl.DataFrame, describer: Describer, address: str) -> AddReport:
    """Do what ``PlaceDatabase.add`` says, on the Lance table ``photos`` of the database at ``address``."""
    report = AddReport()
    candidates = compare_with_stored(photos, table, report, address)
    read = partial(read_candidate, describer=describer)
    readings = describer.read_ahead(read, candidates.iter_rows(named=True), len(candidates))
    waiting: list[Values] = []
    last_commit = time.monotonic()
    for rows, descriptors in describer.describe(sort_out(readings, report)):
        for values, descriptor in zip(rows, descriptors, strict=True):
            if np.isfinite(descriptor).all():
                waiting.append(values | {"descriptor": descriptor.astype(np.float16)})
            else:
                report.failed[values["path"]] = "the model gives NaN or infinity for it"
        if len(waiting) >= PHOTOS_PER_COMMIT or time.monotonic() - last_commit > SECONDS_PER_COMMIT:
            report.added += commit(photos, waiting, address)
            last_commit = time.monotonic()
    report.added += commit(photos, waiting, address)
    return report


def compare_with_stored(photos: Any, table: pl.DataFrame, report: AddReport, address: str) -> pl.DataFrame:
    """Return the rows with a usable position, and beside each what is stored of the same path; report the others."""
    usable = take_located(normalise(table), report.failed).select(FROM_TABLE)
    with storage.translate_errors(address, "read"):
        stored = pl.DataFrame(photos.search().select(list(TO_COMPARE)).to_arrow())
    return usable.join(stored, on="path", how="left", suffix="_stored", maintain_order="left")


def read_candidate(candidate: Values, describer: Describer) -> Reading:
    """Read a photo, unless it is stored as it is; a row of ``compare_with_stored`` says what is stored."""
    path = candidate["path"]
    try:
        status = Path(path).stat()
        same_place = is_same_place(candidate)
        if same_place and (status.st_size, status.st_mtime_ns) == (candidate["file_size"], candidate["file_time"]):
            return Reading(path)
        content_hash = hash_file(path)
        if same_place and content_hash == candidate["content_hash"]:
            return Reading(path)
        image = describer.read(path)
    except ProgeoError as error:
        return Reading(path, failure=str(error))
    except OSError as error:
        return Reading(path, failure=f"The image {path} cannot be read: {error.strerror}.")
    values = {
        **{name: candidate[name] for name in FROM_TABLE},
        "id": make_id(path, content_hash),
        "content_hash": content_hash,
        "file_size": status.st_size,
        "file_time": status.st_mtime_ns,
        "thumbnail": make_thumbnail(image),
    }
    return Reading(path, values, describer.resize(image))


def is_same_place(candidate: Values) -> bool:
    """Whether a photo is stored with the position, heading and time that the image table gives it."""
    if candidate["content_hash"] is None:
        return False
    moved = any(abs(candidate[name] - candidate[f"{name}_stored"]) > SAME_DEGREES for name in ("latitude", "longitude"))
    return not moved and all(candidate[name] == candidate[f"{name}_stored"] for name in ("heading", "timestamp"))


def sort_out(readings: Iterable[Reading], report: AddReport) -> Iterator[tuple[Values, torch.Tensor]]:
    """Yield the values and the image of each photo to describe, and enter the other photos in the report."""
    for reading in readings:
        if reading.values is not None and reading.image is not None:
            yield reading.values, reading.image
        elif reading.failure is not None:
            report.failed[reading.path] = reading.failure
        else:
            report.kept += 1


def commit(photos: Any, rows: list[Values], address: str) -> int:
    """Store rows in one commit, in place of those with the same path, and empty the list; return how many they were."""
    count = len(rows)
    if count:
        with storage.translate_errors(address, "write to"):
            merge = photos.merge_insert("path").when_matched_update_all().when_not_matched_insert_all()
            merge.execute(pa.Table.from_pylist(rows, schema=photos.schema))
        rows.clear()
    return count


def normalise(table: pl.DataFrame) -> pl.DataFrame:
    """Return the table with absolute paths, each once, and with headings and times that the database can hold."""
    missing = [pl.lit(None).alias(name) for name in ("heading", "timestamp") if name not in table.columns]
    paths = pl.Series("path", [make_absolute(path) for path in table["path"]], dtype=pl.String)
    return (
        table.with_columns(paths, *missing)
        .with_columns(heading=pl.col("heading").cast(pl.Float64).fill_nan(None) % 360, timestamp=read_time())
        .unique("path", keep="last", maintain_order=True)
    )


def make_absolute(path: str | Path) -> str:
    """Return the one spelling of a path that the database knows it by; links are left as they are."""
    return os.path.abspath(path)  # noqa: PTH100 (Path.absolute keeps "..", Path.resolve follows links)


def read_time() -> pl.Expr:
    """Return the column ``timestamp`` as a time on the clock of the place; what makes no date becomes null.

    A month that is missing is January, a day the first, and a time of day midnight.
    """
    text = normalise_timestamps(pl.col("timestamp").cast(pl.String)).str.replace(r"(Z|[+-]\d\d:\d\d)$", "")
    start = pl.lit(START_OF_YEAR).str.slice(text.str.len_chars())
    return parse_timestamps(text + start).dt.replace_time_zone(None).alias("timestamp")


def hash_file(path: str | Path) -> str:
    """Return what tells the content of a file from any other, wherever the file is.

    Raises:
        OSError: it cannot be read.
    """
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def make_id(path: str, content_hash: str) -> str:
    """Return 32 hexadecimal digits that name this content at this path and tell nothing of either."""
    return hashlib.sha256(f"{content_hash} {path}".encode()).hexdigest()[:32]
