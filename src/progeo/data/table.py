"""The image table: one row per photo, whatever its position was read from."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl

from progeo.console import format_count
from progeo.data.datasets import find_layout, structures
from progeo.data.exif import ESTIMATED, read_exif
from progeo.data.faults import Faults, set_aside
from progeo.data.file_names import FILE_NAME_FIELDS, FORMAT_HINT, parse_file_names
from progeo.data.listing import list_remote, name_cached, read_changed, read_folder
from progeo.data.manifest import read_manifest
from progeo.data.positions import complete_positions
from progeo.data.timestamps import normalise_timestamps
from progeo.data.track import HEADING_SOURCES, add_headings_from_track
from progeo.data.xmp import find_sidecars
from progeo.errors import ProgeoError
from progeo.remote import is_remote

logger = logging.getLogger("progeo")

MANIFEST_NAMES = ("manifest.csv", "manifest.parquet", "manifest.geojson")


def read_photos(
    source: str | Path,
    cache_folder: str | Path | None = None,
    *,
    columns: str | Mapping[str, str] | None = None,
    split: str | None = None,
    heading_from: str | None = None,
    local_frame: bool = False,
    one_plane: bool | None = True,
    faults: Faults | None = None,
) -> pl.DataFrame:
    """Read the photos of a folder or a manifest as a table.

    What the positions are read from is decided by what is there, in this order:

    - ``source`` is a folder of an object store, such as ``s3://bucket/photos``: the names of its images, or else their
      EXIF data, for which each is read;
    - ``source`` is a manifest (CSV, Parquet or GeoJSON), or a folder that holds one called ``manifest``; a structure
      of NetVLAD's data sets (``pitts30k_test.mat``) does as well;
    - the folder has the layout of a published data set (``layouts``);
    - the images below the folder have SF-XL file names;
    - they have GPS positions in their EXIF data; those without are left out, and named in the log.

    Where ``<folder>_images_paths.txt`` stands beside a folder, as SF-XL ships it, its lines (paths relative to the
    folder) are taken instead of listing the disk. The table of a folder is kept in ``cache_folder`` until a file is
    added, removed or renamed; what was read from EXIF data, for each photo until its file changes.

    Args:
        source: a folder or a manifest, or a folder of an object store.
        cache_folder: where tables of folders are kept between runs; None keeps none.
        columns: which columns of a manifest are which, as ``{"latitude": "Y"}`` or ``latitude=Y,longitude=X``.
        split: take only the rows of this split (train, val, test), where a manifest or a published set has splits.
        heading_from: ``track`` computes headings that are missing from the course from photo to photo.
        local_frame: columns ``x`` and ``y`` of a manifest are metres in a frame of their own; they become ``utm_east``
            and ``utm_north`` without a zone, in place of any other position.
        one_plane: whether distances between UTM coordinates must mean something. Without it the photos may lie all over
            the world, and each gets the coordinates of its own zone; None does so only where one plane is not enough.
        faults: gets the photos that cannot be used, and why, where they would otherwise be an error or left out. Paths
            of files start with the folder, as those of the table do. A folder with any fault is read anew each time.

    Returns:
        One row per photo, sorted by path where a folder was read. Always there are ``path`` (string, which starts with
        the folder as given) and the columns of FILE_NAME_FIELDS: ``utm_east`` and ``utm_north`` in metres,
        ``latitude`` and ``longitude`` in degrees where the zone is known, ``heading`` in degrees clockwise from north,
        ``timestamp`` in ISO 8601 (see ``normalise_timestamps``). What is not known is null. Further
        columns come after them: those of a manifest, ``heading_reference`` ("true" or "magnetic") from EXIF, ``split``
        and ``role`` where the folder holds such folders as train, val and test, database and queries; and what a
        published set says of its images.

    Raises:
        ProgeoError: there are no photos, no positions, or impossible ones; the message names the file or row.
    """
    manifest = None
    if is_remote(source):
        table = _read_remote(str(source), faults)
    elif (manifest := find_manifest(source := Path(source))) is not None:
        is_structure = manifest.suffix.lower() == structures.SUFFIX
        table = (
            structures.read_structure(manifest, faults)
            if is_structure
            else read_manifest(manifest, columns, faults, local_frame=local_frame)
        )
        table = _complete_columns(table)
    else:
        found: Faults | None = None if faults is None else []
        layout = find_layout(source)
        by_content = partial(_read_photos, cached=name_cached(source, cache_folder, "-exif"))
        read, sources = (layout.read, layout.find(source)) if layout else (by_content, [])
        split = split if layout else None  # any other folder is a split itself
        table = read_folder(
            source, cache_folder, lambda paths, folder: _complete_columns(read(paths, folder, found)), sources, found
        )
        if faults is not None and found:
            # Where there is no file, the path is what a row calls it.
            faults += [
                fault if fault.kind == "file" else replace(fault, path=str(source / fault.path)) for fault in found
            ]
    if "problem" in table.columns:
        table = _leave_out(table, source, faults)
    table = complete_positions(table, one_plane=one_plane)
    table = _take_split(table, split, manifest or source) if split else table
    if heading_from is not None:
        if heading_from not in HEADING_SOURCES:
            raise ProgeoError(f"`heading_from` {heading_from}: it must be {' or '.join(HEADING_SOURCES)}.")
        table = add_headings_from_track(table)
    return table


def find_manifest(source: Path) -> Path | None:
    """Return the manifest or structure that ``source`` is or holds; None where it is a folder without one.

    Raises:
        ProgeoError: there is neither a file nor a folder of this name, or the folder holds several structures or cannot
            be read.
    """
    if source.is_dir():
        try:
            manifest = next((source / name for name in MANIFEST_NAMES if (source / name).is_file()), None)
            candidates = [] if manifest else structures.find_structures(source)
        except PermissionError as error:
            raise ProgeoError(
                f"Cannot list the folder {source}: {error.strerror}. Get the right to read it, or move it away."
            ) from error
        if len(candidates) > 1:
            raise ProgeoError(
                f"{source} holds {len(candidates)} structures ({', '.join(path.name for path in candidates)}): give "
                f"one of them in place of the folder, for example {candidates[0]}, or evaluate with `protocol`."
            )
        return next(iter(candidates), manifest)
    if source.is_file():
        return source
    raise ProgeoError(
        f"There is no folder {source} and no manifest of that name. "
        f"Check the path (the current folder is {Path.cwd()})."
    )


def _read_remote(folder: str, faults: Faults | None) -> pl.DataFrame:
    """Read the table of the images below a folder of an object store."""
    folder = folder.rstrip("/")
    paths = pl.Series("path", list_remote(folder), dtype=pl.String).str.strip_prefix(f"{folder}/")
    found: Faults | None = None if faults is None else []
    table = _complete_columns(_read_photos(paths, folder, found, None))
    if faults is not None and found:
        faults += [replace(fault, path=f"{folder}/{fault.path}") for fault in found]
    return table.with_columns(path=pl.concat_str(pl.lit(f"{folder}/"), "path"))


def _read_photos(
    relative_paths: pl.Series, folder: str | Path, faults: Faults | None, cached: Path | None
) -> pl.DataFrame:
    """Read the table of the images below a folder: from their names or else their EXIF data, and their folders.

    What was read from EXIF data has a column ``problem``, and the photos without a position too.
    """
    parts = pl.DataFrame({"path": relative_paths}).iter_slices(100_000)  # one position is enough: most sets end at once
    if any(part["path"].str.contains(r"@[-+]?\d[^@/\\]*@[-+]?\d[^/\\]*$").any() for part in parts):
        table = parse_file_names(relative_paths, folder, faults)
    else:
        read = partial(read_exif, folder=str(folder), description="Reading EXIF data")
        table = read_changed(relative_paths, Path(folder), cached, read, find_sidecars)
    return table.with_columns(_read_parts(table["path"]))


def _leave_out(table: pl.DataFrame, folder: str | Path, faults: Faults | None) -> pl.DataFrame:
    """Return the photos that have a position; ``faults`` or the log get the others.

    Raises:
        ProgeoError: no photo has one.
    """
    problems = table.filter(pl.col("problem").is_not_null()).select("path", "problem")
    others = problems.filter(pl.col("problem") != ESTIMATED)
    if len(problems):
        path, problem = (others if len(others) else problems).row(0)
        example = f"first {os.path.relpath(path, folder)}: {problem}"
    if len(problems) == len(table):
        raise ProgeoError(
            f"There are no coordinates anywhere in {folder}. Looked for a manifest in it "
            f"({', '.join(MANIFEST_NAMES)}), SF-XL file names ({FORMAT_HINT}), and EXIF GPS positions in its "
            f"{format_count(len(table), 'image')} ({example}). "
            "A manifest that stands elsewhere can be given in place of the folder."
        )
    estimated = problems.filter(pl.col("problem") == ESTIMATED)
    if faults is not None:
        set_aside(table, table["problem"], "position", faults)
    elif len(estimated):
        logger.warning(
            f"Left out: {format_count(len(estimated), 'photo')} in {folder} whose position is an estimate that progeo "
            f"wrote, first {os.path.relpath(estimated['path'][0], folder)}"
        )
    if faults is None and len(others):
        logger.warning(
            f"Left out: {len(others):,} of {format_count(len(table), 'photo')} in {folder} without a position, "
            f"{example}"
        )
    unread = table.filter(pl.col("unread_time").is_not_null())
    if len(unread):
        path, text = unread.row(0, named=True)["path"], unread["unread_time"][0]
        logger.warning(
            f"{len(unread):,} of {format_count(len(table), 'photo')} in {folder} with a time that is not understood, "
            f"first {os.path.relpath(path, folder)}: {text!r}"
        )
    magnetic = len(table.filter(pl.col("heading_reference") == "magnetic"))
    if magnetic:
        logger.warning(
            f"{format_count(magnetic, 'heading')} in {folder} against magnetic north: true north differs by the local "
            "declination"
        )
    return table.filter(pl.col("problem").is_null()).drop("problem", "unread_time")


def _read_parts(relative_paths: pl.Series) -> list[pl.Series]:
    """Return split and role of photos where they are in folders called train, val and test, database and queries."""
    if not relative_paths.str.contains(r"^(images[/\\])?(train|val|test|database|gallery|queries\w*)[/\\]").any():
        return []  # seen much faster than the parts are taken out
    pattern = r"^(?:images[/\\])?(?:(train|val|test)[/\\])?(?:(database|gallery|queries\w*)[/\\])?"
    folders = relative_paths.str.extract_groups(pattern).struct
    split, role = folders.field("1").alias("split"), folders.field("2").replace("gallery", "database").alias("role")
    has_both = (role == "database").any() and (role != "database").any()
    return [*([split] if split.is_not_null().any() else []), *([role] if has_both else [])]


def _complete_columns(table: pl.DataFrame) -> pl.DataFrame:
    """Bring what a reader has found into the form of the image table, but for missing positions."""
    missing = [pl.lit(None, kind).alias(name) for name, kind in FILE_NAME_FIELDS.items() if name not in table.columns]
    table = table.with_columns(missing)
    # Millions of photos have few different dates, and reading a date takes as long as all else.
    times = table.select(pl.col("timestamp").unique())
    times = times.with_columns(normalise_timestamps(pl.col("timestamp")).alias("normalised"))
    table = table.with_columns(pl.col("timestamp").replace_strict(*times.get_columns(), return_dtype=pl.String))
    return table.select("path", *FILE_NAME_FIELDS, pl.exclude("path", *FILE_NAME_FIELDS))


def _take_split(table: pl.DataFrame, split: str, source: str | Path) -> pl.DataFrame:
    """Return the rows of a split, or all where the table has no splits."""
    if "split" not in table.columns:
        return table
    rows = table.filter(pl.col("split") == split)
    if rows.is_empty():
        counts = ", ".join(f"{name} ({count})" for name, count in table["split"].value_counts(sort=True).iter_rows())
        raise ProgeoError(f"{source} has no rows of the split {split}; its splits are {counts}.")
    return rows
