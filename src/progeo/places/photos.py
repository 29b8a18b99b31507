"""The photos that go into a place database, or that it learns from: a folder, a manifest, paths, or a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from progeo.console import format_count
from progeo.data.exif import read_exif
from progeo.data.faults import Faults
from progeo.data.file_names import parse_file_names
from progeo.data.table import read_photos

NAMED = r"@[-+]?\d[^@/\\]*@[-+]?\d[^/\\]*$"
"""What the names of photos end with that say where they were taken."""
FAILURES_SHOWN = 10


@dataclass
class PhotoSet:
    """Photos with positions, read from one or several places; they may lie all over the world."""

    table: pl.DataFrame
    failed: dict[str, str] = field(default_factory=dict)
    """Path of each photo that cannot be used, and why."""
    remarks: list[str] = field(default_factory=list)
    """What is to be said of the reading."""


Photos = str | Path | Iterable[str | Path] | pl.DataFrame | PhotoSet


def read_photo_set(
    photos: Photos,
    *,
    role: str = "database",
    cache_folder: str | Path | None = None,
    columns: str | None = None,
    heading_from: str | None = None,
    local_frame: bool = False,
) -> PhotoSet:
    """Read the image table of a folder or a manifest, or of image files by their names or else their EXIF data.

    Args:
        photos: a folder or a manifest, image files, or an image table; what has been read already is returned.
        role: of a set that says which photos are ``database`` and which are ``queries``, only these are taken: queries
            in the database that they are asked of would find themselves.
        cache_folder: where listings of folders are kept; None keeps none.
        columns: which columns of a manifest are which.
        heading_from: ``track`` takes headings that are missing from the course.
        local_frame: columns ``x`` and ``y`` of a manifest are metres in a frame of their own.

    Raises:
        ProgeoError: there are no photos, or nothing says where they were taken.
    """
    if isinstance(photos, PhotoSet):
        return photos
    if isinstance(photos, pl.DataFrame):
        return PhotoSet(photos)
    if not isinstance(photos, str | Path):
        return _read_files(pl.Series("path", [str(path) for path in photos], dtype=pl.String))
    faults: Faults = []
    table = read_photos(
        photos,
        cache_folder,
        columns=columns,
        heading_from=heading_from,
        local_frame=local_frame,
        one_plane=False,
        faults=faults,
    )
    failed = {
        fault.path: f"there is no such file ({fault.problem})" if fault.kind == "file" else fault.problem
        for fault in faults
        if fault.kind != "row"
    }
    remarks = []
    without_row = [fault for fault in faults if fault.kind == "row"]
    if without_row:
        first = without_row[0]
        remarks.append(f"Left out: {format_count(len(without_row), 'image')}, first {first.path}: {first.problem}")
    if "role" in table.columns:
        taken = table.filter(pl.col("role").str.starts_with(role))
        if 0 < len(taken) < len(table):
            remarks.append(f"{photos}: the {role}, {len(taken)} of {len(table)} photos")
            table = taken
    return PhotoSet(table, failed, remarks)


def join_sets(sets: Sequence[PhotoSet]) -> PhotoSet:
    """Return several sets, at least one, as one."""
    table = pl.concat([found.table for found in sets], how="diagonal_relaxed")
    return PhotoSet(table, {path: reason for found in sets for path, reason in found.failed.items()})


def _read_files(paths: pl.Series) -> PhotoSet:
    """Read the positions of image files from their names, and of the others from their EXIF data."""
    is_named = paths.str.contains(NAMED)
    faults: Faults = []
    named = parse_file_names(paths.filter(is_named), faults=faults)
    others = read_exif(paths.filter(~is_named))
    failed = {fault.path: fault.problem for fault in faults}
    failed |= dict(others.select("path", "problem").drop_nulls().iter_rows())
    others = others.filter(pl.col("problem").is_null()).drop("problem", "unread_time")
    return PhotoSet(pl.concat([named, others], how="diagonal_relaxed"), failed)


def format_failures(failed: dict[str, str]) -> str:
    """Return why photos failed, in one line for each reason, with the first photo of it."""
    photos: dict[str, list[str]] = {}
    for path, reason in failed.items():
        photos.setdefault(reason, []).append(path)
    lines = []
    for reason, (first, *others) in photos.items():
        beside = f" and {format_count(len(others), 'other')}" if others else ""
        lines.append(f"{first}{beside}: {reason}")
    more = [f"and {len(lines) - FAILURES_SHOWN:,} more"] if len(lines) > FAILURES_SHOWN else []
    return "\n  ".join(["", *lines[:FAILURES_SHOWN], *more]) if len(lines) > 1 else lines[0]
