"""Adding photos to a place database: only what is new or has changed, in commits that an interruption cannot split."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import torch

from progeo.console import progress_bar
from progeo.descriptors import describe_images, resize_shorter_side
from progeo.errors import ProgeoError
from progeo.images.loading import read_ahead
from progeo.models.network import PlaceNetwork
from progeo.places import storage
from progeo.places.photos import hash_file, make_thumbnail, read_for_description
from progeo.places.positions import complete_positions

SECONDS_PER_COMMIT = 20.0
PHOTOS_PER_COMMIT = 4096
SAME_DEGREES = 1e-9
COLUMNS = ["path", "latitude", "longitude", "utm_east", "utm_north", "utm_zone", "heading", "timestamp"]


@dataclass(frozen=True)
class AddReport:
    """What ``PlaceDatabase.add`` did."""

    added: int
    """New and changed photos that are now in the database."""
    kept: int
    """Photos that were there already, unchanged."""
    failed: dict[str, str]
    """Path of each photo that was left out, and why."""


@dataclass
class Row:
    """A photo on its way into the database."""

    values: dict[str, Any]
    image: torch.Tensor


def add_photos(
    photos: Any,
    table: pl.DataFrame,
    network: PlaceNetwork,
    *,
    address: str,
    device: torch.device,
    batch_size: int,
    num_workers: int | None,
    description: str | None,
) -> AddReport:
    """Do what ``PlaceDatabase.add`` says, on the Lance table ``photos`` of the database at ``address``."""
    table = complete_positions(normalise_table(table))
    failed = dict(table.filter(pl.col("problem").is_not_null()).select("path", "problem").iter_rows())
    table = table.filter(pl.col("problem").is_null()).select(COLUMNS)
    with storage.translate_errors(address, "read"):
        known = ["path", "content_hash", "file_size", "file_time", "latitude", "longitude", "heading", "timestamp"]
        stored = pl.DataFrame(photos.search().select(known).to_arrow())
    candidates = table.join(stored, on="path", how="left", suffix="_stored")
    kept = 0
    size = network.preprocessing.image_size

    def read(values: dict[str, Any]) -> Row | str | None:
        """Return the row to store, why there is none, or None where the stored one is still right."""
        try:
            status = Path(values["path"]).stat()
            same_place = is_same_place(values)
            if same_place and (status.st_size, status.st_mtime_ns) == (values["file_size"], values["file_time"]):
                return None
            content_hash = hash_file(values["path"])
            if same_place and content_hash == values["content_hash"]:
                return None
            image = read_for_description(values["path"], size)
        except ProgeoError as error:
            return str(error)
        except OSError as error:
            return f"The image {values['path']} cannot be read: {error.strerror}."
        stored_values = {name: values[name] for name in COLUMNS} | {
            "id": make_id(values["path"], content_hash),
            "content_hash": content_hash,
            "file_size": status.st_size,
            "file_time": status.st_mtime_ns,
            "thumbnail": make_thumbnail(image),
        }
        return Row(stored_values, resize_shorter_side(image, network.preprocessing))

    waiting: list[dict[str, Any]] = []
    added, last_commit = 0, time.monotonic()
    with progress_bar(disable=description is None) as progress:
        task = progress.add_task(description or "", total=len(candidates))

        def images() -> Iterator[tuple[dict[str, Any], torch.Tensor]]:
            nonlocal kept
            rows = candidates.iter_rows(named=True)
            for row, values in zip(
                read_ahead(read, rows, num_workers=num_workers, ahead=4 * batch_size),
                candidates["path"],
                strict=True,
            ):
                if isinstance(row, Row):
                    yield row.values, row.image
                    continue
                progress.advance(task)
                if row is None:
                    kept += 1
                else:
                    failed[values] = row

        for described, descriptors in describe_images(network, images(), device=device, batch_size=batch_size):
            for values, descriptor in zip(described, descriptors, strict=True):
                if np.isfinite(descriptor).all():
                    waiting.append(values | {"descriptor": descriptor.astype(np.float16)})
                else:
                    failed[values["path"]] = "the model gives NaN or infinity for it"
            progress.advance(task, len(described))
            if len(waiting) >= PHOTOS_PER_COMMIT or time.monotonic() - last_commit > SECONDS_PER_COMMIT:
                added += commit(photos, waiting, address)
                last_commit = time.monotonic()
        added += commit(photos, waiting, address)
    return AddReport(added, kept, failed)


def commit(photos: Any, rows: list[dict[str, Any]], address: str) -> int:
    """Store rows in one commit, in place of those with the same path, and empty the list; return how many they were."""
    count = len(rows)
    if count:
        merge = photos.merge_insert("path").when_matched_update_all().when_not_matched_insert_all()
        with storage.translate_errors(address, "write to"):
            merge.execute(pa.Table.from_pylist(rows, schema=photos.schema))
        rows.clear()
    return count


def make_absolute(path: str | Path) -> str:
    """Return the one spelling of a path that the database knows it by; links are left as they are."""
    return os.path.abspath(path)  # noqa: PTH100 (Path.absolute keeps "..", Path.resolve follows links)


def normalise_table(table: pl.DataFrame) -> pl.DataFrame:
    """Return the table with absolute paths, each once, and with headings and times that the database can hold."""
    for name in ("heading", "timestamp"):
        if name not in table.columns:
            table = table.with_columns(pl.lit(None).alias(name))
    paths = pl.Series("path", [make_absolute(path) for path in table["path"]], dtype=pl.String)
    return table.with_columns(paths, heading=pl.col("heading").cast(pl.Float64) % 360, timestamp=read_time()).unique(
        "path", keep="last", maintain_order=True
    )


def read_time() -> pl.Expr:
    """Return the column ``timestamp`` as a time: its first 14 digits are year, month, day, hour, minute and second.

    A month that is missing is January, a day the first; what makes no date becomes null.
    """
    digits = pl.col("timestamp").cast(pl.String).str.replace_all(r"\D", "").str.head(14)
    filled = digits + pl.lit("00000101000000").str.tail(14 - digits.str.len_chars().cast(pl.Int64))
    return filled.str.to_datetime("%Y%m%d%H%M%S", strict=False, time_unit="us")


def is_same_place(values: dict[str, Any]) -> bool:
    """Whether a photo that is stored has the position, heading and time that the image table gives it."""
    if values["content_hash"] is None:
        return False
    return all(
        abs(values[name] - values[f"{name}_stored"]) <= SAME_DEGREES for name in ("latitude", "longitude")
    ) and all(values[name] == values[f"{name}_stored"] for name in ("heading", "timestamp"))


def make_id(path: str, content_hash: str) -> str:
    """Return 32 hexadecimal digits that name this content at this path and tell nothing of either."""
    return hashlib.sha256(f"{content_hash} {path}".encode()).hexdigest()[:32]
