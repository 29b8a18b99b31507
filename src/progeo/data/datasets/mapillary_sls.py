"""Mapillary Street-level Sequences: ``train_val/<city>/{database,query}`` with ``images`` and tables.

The tables go row by row: ``postprocessed.csv`` (UTM, night, view direction), ``raw.csv`` (longitude and latitude,
angle, day, panorama or not), ``seq_info.csv`` (sequences), ``subtask_index.csv`` (which images a task takes). The
positions of the cities in ``test`` were never published. Source: README and data loader of mapillary/mapillary_sls.
"""

from __future__ import annotations

import logging
from pathlib import Path

import polars as pl

from progeo.data.datasets.rows import Columns, match_files, read_columns
from progeo.data.faults import Faults
from progeo.data.geodesy import choose_zone, find_letters
from progeo.errors import ProgeoError

logger = logging.getLogger("progeo")

NAME = "Mapillary SLS"
TRAINING_CITIES = (
    *("trondheim", "london", "boston", "melbourne", "amsterdam", "helsinki", "tokyo", "toronto", "saopaulo", "moscow"),
    *("zurich", "paris", "bangkok", "budapest", "austin", "berlin", "ottawa", "phoenix", "goa", "amman", "nairobi"),
    "manila",
)
VALIDATION_CITIES = ("cph", "sf")
ROLES = {"database": "database", "query": "queries"}
POSITIVE_METRES = 25.0
"""The validation takes only queries that have a database image so near."""

POSTPROCESSED: Columns = {
    "key": pl.String,
    "easting": pl.Float64,
    "northing": pl.Float64,
    "unique_cluster": pl.String,
    "control_panel": pl.Boolean,
    "night": pl.Boolean,
    "view_direction": pl.String,
}
RAW: Columns = {
    "key": pl.String,
    "lon": pl.Float64,
    "lat": pl.Float64,
    "ca": pl.Float64,
    "captured_at": pl.String,
    "pano": pl.Boolean,
}
SEQUENCES: Columns = {"key": pl.String, "sequence_key": pl.String, "frame_number": pl.Int64}
SUBTASKS: Columns = {"all": pl.Boolean}


def find(folder: Path) -> list[Path]:
    """Return the tables of the cities whose positions are known; ``folder`` may be ``train_val`` itself."""
    root = _find_root(folder)
    parts = [root / city / part for city in (*TRAINING_CITIES, *VALIDATION_CITIES) for part in ROLES]
    return sorted(path for part in parts if part.is_dir() for path in part.glob("*.csv"))


def read(relative_paths: pl.Series, folder: Path, faults: Faults | None) -> pl.DataFrame:
    """Return the images of all cities but for panoramas, which the publishers leave out everywhere.

    ``subtask_all`` is true for the queries of a validation city that its ``subtask_index.csv`` marks as ``all``, and
    that have a positive.
    """
    root = _find_root(folder)
    files = pl.DataFrame({"key": relative_paths, "path": relative_paths})
    cities = sorted({path.parent.parent for path in find(folder)})
    tables = [_read_city(city, files, city.relative_to(folder).as_posix(), faults) for city in cities]
    tables = [table for table in tables if len(table)]
    if not tables:
        raise ProgeoError(
            f"{root} has the tables of Mapillary SLS, but no images. Unpack images_vol_*.zip into the same folder."
        )
    table = pl.concat(tables, how="diagonal")
    panoramas = table["pano"].sum()
    if panoramas:
        logger.info(f"{panoramas} panoramas in {folder} are left out, as the publishers do")
    return table.filter(~pl.col("pano")).drop("pano").sort("path")


def _find_root(folder: Path) -> Path:
    return folder / "train_val" if (folder / "train_val").is_dir() else folder


def _read_city(city: Path, files: pl.DataFrame, prefix: str, faults: Faults | None) -> pl.DataFrame:
    """Return database and queries of one city."""
    parts = [
        _read_part(city / part, role, files, f"{prefix}/{part}/images", faults)
        for part, role in ROLES.items()
        if (city / part / "postprocessed.csv").is_file()
    ]
    parts = [part for part in parts if len(part)]
    if not parts:
        return pl.DataFrame()
    table = pl.concat(parts, how="diagonal")
    zone = choose_zone(table["latitude"], table["longitude"])
    table = table.with_columns(
        utm_zone=pl.lit(zone.number, pl.Int32),
        utm_letter=pl.Series(find_letters(table["latitude"], zone), dtype=pl.String),
        city=pl.lit(city.name),
        split=pl.lit("val" if city.name in VALIDATION_CITIES else "train"),
    )
    return _mark_queries(table) if "subtask_all" in table.columns else table


def _read_part(part: Path, role: str, files: pl.DataFrame, folder: str, faults: Faults | None) -> pl.DataFrame:
    """Return the database or the queries of one city."""
    tables: dict[str, Columns] = {"postprocessed.csv": POSTPROCESSED, "raw.csv": RAW, "seq_info.csv": SEQUENCES}
    if (part / "subtask_index.csv").is_file():
        tables["subtask_index.csv"] = SUBTASKS
    columns = [read_columns(part / name, needed).select(*needed) for name, needed in tables.items()]
    for name, other in zip(tables, columns, strict=True):
        same_keys = "key" not in other.columns or other["key"].equals(columns[0]["key"])
        if len(other) != len(columns[0]) or not same_keys:
            raise ProgeoError(
                f"{part / name} and postprocessed.csv beside it go row by row, but their rows are not of the same "
                "images. Please unpack metadata.zip again."
            )
    rows = pl.concat([columns[0], *(other.drop("key", strict=False) for other in columns[1:])], how="horizontal")
    rows = rows.select(
        "night",
        "view_direction",
        "control_panel",
        "unique_cluster",
        "frame_number",
        "pano",
        *([pl.col("all").alias("subtask_all")] if "all" in rows.columns else []),
        key=folder + "/" + pl.col("key") + ".jpg",
        pano_id="key",
        utm_east="easting",
        utm_north="northing",
        latitude="lat",
        longitude="lon",
        heading=pl.col("ca") % 360,
        timestamp="captured_at",
        sequence="sequence_key",
        role=pl.lit(role),
    )
    files = files.filter(pl.col("key").str.starts_with(folder + "/"))
    return match_files(rows, files, part / "postprocessed.csv", f"{part.parent.name}/{part.name}", faults)


def _mark_queries(table: pl.DataFrame) -> pl.DataFrame:
    """Take from ``subtask_all`` the queries that have no positive, and all that is no query."""
    from scipy.spatial import cKDTree  # which only this set needs

    is_candidate = (pl.col("role") == "queries") & pl.col("subtask_all").fill_null(False) & ~pl.col("pano")
    table = table.with_columns(subtask_all=is_candidate)
    database = table.filter((pl.col("role") == "database") & ~pl.col("pano"))
    if database.is_empty():
        return table.with_columns(subtask_all=pl.lit(False))
    positions = ("utm_east", "utm_north")
    distances = cKDTree(database.select(positions).to_numpy()).query(table.select(positions).to_numpy())[0]
    return table.with_columns(subtask_all=pl.col("subtask_all") & pl.Series(distances <= POSITIVE_METRES))
