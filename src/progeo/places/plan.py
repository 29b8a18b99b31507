"""First step of indexing: which photos are new. The image table is joined with the database in the store.

Both may be far larger than memory allows for paths: the table is taken in slices, and of the database only the photos
of a slice are read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from progeo import remote
from progeo.console import logger
from progeo.data.credits import SHOT_COLUMNS, complete_credits
from progeo.data.frames import find_frame, take_placed
from progeo.data.timestamps import normalise_timestamps, parse_timestamps
from progeo.places import storage

SLICE = 65_536
PATHS_PER_QUERY = 4096
"""Photos that are looked up in the database at a time; those of a large one have an index for it."""
SAME_POSITION = 1e-9
"""In degrees or metres."""
START_OF_YEAR = "YYYY-01-01T00:00:00"
SAID = ("heading", "timestamp", *SHOT_COLUMNS)
FROM_TABLE = ("path", "latitude", "longitude", "utm_east", "utm_north", "utm_zone", "x", "y", *SAID)
LIMITS = {"latitude": 90.0, "longitude": 180.0, "x": 1e12, "y": 1e12}
"""Of positions, in degrees or in metres of a local frame."""
TO_COMPARE = ("path", "content_hash", "file_size", "file_time", "latitude", "longitude", "x", "y", *SAID)


def plan(
    photos: Any, table: pl.DataFrame, failed: dict[str, str], address: str, written: pl.DataFrame | None = None
) -> Iterator[pl.DataFrame]:
    """Yield the photos of an image table, slice by slice, and beside each what is stored of the same path.

    Args:
        photos: the Lance table.
        table: as for ``PlaceDatabase.add``.
        failed: gets why by the path of photos without a usable position.
        address: of the database, for errors.
        written: columns TO_COMPARE of what is to be stored already, the last row of a path counts.

    Yields:
        FROM_TABLE, what is stored (TO_COMPARE, null where nothing is; positions and the like end in ``_stored``), and
        ``same_place``: whether it is stored with this position, heading and time.
    """
    frame = find_frame(photos.schema.names)
    for part in normalise(table).sort("path").iter_slices(SLICE):
        placed = complete(take_placed(part, frame, failed), FROM_TABLE)
        yield join_stored(photos, placed, address, written)


def join_stored(photos: Any, part: pl.DataFrame, address: str, written: pl.DataFrame | None = None) -> pl.DataFrame:
    """Return some rows with FROM_TABLE, and beside each what is stored of the same path; see ``plan``."""
    present = [name for name in TO_COMPARE if name in photos.schema.names]
    parts = [complete(_to_frame(photos.schema.empty_table().select(present)), TO_COMPARE)]
    for some in part["path"].sort().to_frame().iter_slices(PATHS_PER_QUERY):
        paths = ", ".join(storage.quote(path) for path in some["path"])
        parts += scan(photos, TO_COMPARE, address, f"path IN ({paths})")
    if written is not None and len(written):
        parts.append(written.join(part.select("path"), on="path", how="semi"))
    stored = pl.concat(parts, how="vertical_relaxed").unique("path", keep="last", maintain_order=True)
    joined = part.join(stored, on="path", how="left", suffix="_stored", maintain_order="left")
    frame = find_frame(photos.schema.names)
    moved = [(pl.col(name) - pl.col(f"{name}_stored")).abs() > SAME_POSITION for name in frame]
    same = [pl.col(name).eq_missing(pl.col(f"{name}_stored")) for name in SAID]
    is_stored = pl.col("content_hash").is_not_null()
    return joined.with_columns(
        same_place=is_stored & ~pl.any_horizontal(moved).fill_null(True) & pl.all_horizontal(same)
    )


def scan(photos: Any, columns: Sequence[str], address: str, condition: str | None = None) -> Iterator[pl.DataFrame]:
    """Yield columns of a Lance table batch by batch, all rows or those that fulfil a condition of SQL."""
    with storage.translate_errors(address, "read"):
        query = photos.search()
        present = [name for name in columns if name in photos.schema.names]
        batches = (query.where(condition) if condition else query).select(present).to_batches()
        while (batch := next(batches, None)) is not None:
            yield complete(drop_damaged(_to_frame(batch), address), columns)


def drop_damaged(rows: pl.DataFrame, address: str) -> pl.DataFrame:
    """Return rows of photos without those that cannot be used: no path or id, no place on earth, no descriptor.

    Nothing that progeo writes is like that. The log says so once; indexing the photos again mends them.
    """
    needed = [name for name in ("path", "id", "descriptor") if name in rows.columns]
    whole = [pl.col(name).is_not_null() for name in needed]
    whole += [
        pl.col(name).is_between(-limit, limit) & pl.col(name).is_not_nan()
        for name, limit in LIMITS.items()
        if name in rows.columns
    ]
    if "descriptor_distance" in rows.columns:
        whole.append(pl.col("descriptor_distance").is_finite())
    kept = rows.filter(pl.all_horizontal(whole).fill_null(False)) if whole else rows
    if len(kept) < len(rows):
        _warn_of_damage(address)
    return kept


@cache
def _warn_of_damage(address: str) -> None:
    logger.warning(
        f"The place database {address} is damaged: photos without a path, a place or a descriptor are left out. "
        "Index the photos again."
    )


def find_missing(photos: Any, others: Any, address: str) -> Iterator[str]:
    """Yield the paths that one Lance table holds and another does not."""
    for batch in scan(photos, FROM_TABLE, address):
        joined = join_stored(others, batch, address)
        yield from joined.filter(pl.col("content_hash").is_null())["path"]


def normalise(table: pl.DataFrame) -> pl.DataFrame:
    """Return the table with absolute paths, each once, and with headings and times that the database can hold."""
    missing = [pl.lit(None).alias(name) for name in ("heading", "timestamp") if name not in table.columns]
    table = complete_credits(table)
    paths = pl.Series("path", [make_absolute(path) for path in table["path"]], dtype=pl.String)
    return (
        table.with_columns(paths, *missing)
        .with_columns(heading=pl.col("heading").cast(pl.Float64).fill_nan(None) % 360, timestamp=read_time())
        .unique("path", keep="last", maintain_order=True)
    )


def make_absolute(path: str | Path) -> str:
    """Return the one spelling of a path that the database knows it by; links are left as they are."""
    if remote.is_remote(path):
        return str(path)
    return os.path.abspath(path)  # noqa: PTH100 (Path.absolute keeps "..", Path.resolve follows links)


def read_time() -> pl.Expr:
    """Return the column ``timestamp`` as a time on the clock of the place; what makes no date becomes null.

    A month that is missing is January, a day the first, and a time of day midnight.
    """
    text = normalise_timestamps(pl.col("timestamp").cast(pl.String)).str.replace(r"(Z|[+-]\d\d:\d\d)$", "")
    start = pl.lit(START_OF_YEAR).str.slice(text.str.len_chars())
    return parse_timestamps(text + start).dt.replace_time_zone(None).alias("timestamp")


def complete(table: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Return the columns of a table that may be of an earlier progeo and lack some."""
    missing = [pl.lit(None, pl.String).alias(name) for name in columns if name not in table.columns]
    return table.with_columns(missing).select(columns)


def _to_frame(rows: Any) -> pl.DataFrame:
    table = pl.from_arrow(rows)
    assert isinstance(table, pl.DataFrame)
    return table
