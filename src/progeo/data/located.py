"""Positions on the earth: reading and completing those of an image table, and distances between points."""

from __future__ import annotations

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from progeo.cli.calibrate import CalibrateOptions
from progeo.cli.index import IndexOptions
from progeo.console import console, format_count
from progeo.data import positions
from progeo.data.faults import Faults
from progeo.data.file_names import FORMAT_HINT
from progeo.data.geodesy import describe_impossible
from progeo.data.table import read_image_table

Floats = NDArray[np.float64]

EARTH_RADIUS = 6_371_008.8
NO_POSITION = (
    f"no latitude and longitude, and no UTM position with zone and letter ({FORMAT_HINT}; progeo data convert "
    "`utm_zone` adds the zone where nothing else is missing)"
)
COLUMNS = pl.Schema(
    {
        **dict.fromkeys(("latitude", "longitude", "utm_east", "utm_north"), pl.Float64()),
        "utm_zone": pl.Int32(),
        "utm_letter": pl.String(),
    }
)


def read_photos(
    source: str, options: IndexOptions | CalibrateOptions, role: str, failed: dict[str, str]
) -> pl.DataFrame:
    """Read the image table of a folder or a manifest; its photos may lie all over the world.

    Photos that cannot be used go to ``failed``, which has why for the path of each.

    Of a set that says which photos are ``database`` and which are ``queries``, only those of ``role`` are taken:
    queries in the database that they are asked of would find themselves.
    """
    faults: Faults = []
    table = read_image_table(
        source,
        options.cache_folder,
        columns=options.columns,
        heading_from=options.heading_from,
        one_plane=False,
        faults=faults,
    )
    for fault in faults:
        if fault.kind != "row":
            reason = f"there is no such file ({fault.problem})" if fault.kind == "file" else fault.problem
            failed[fault.path] = reason
    others = [fault for fault in faults if fault.kind == "row"]
    if others:
        text = f"Left out: {format_count(len(others), 'image')}, first {others[0].path}: {others[0].problem}"
        console.print(text, style="yellow", markup=False, soft_wrap=True)
    taken = table.filter(pl.col("role").str.starts_with(role)) if "role" in table.columns else table
    if taken.is_empty() or len(taken) == len(table):
        return table
    console.print(f"{source}: the {role}, {len(taken)} of {len(table)} photos", markup=False, soft_wrap=True)
    return taken


def complete_positions(table: pl.DataFrame) -> pl.DataFrame:
    """Return the table with all of latitude, longitude (degrees, WGS 84), UTM east, north (metres), zone and letter.

    Latitude and longitude count where both are given; else they follow from the UTM position, which needs its zone and
    letter. A further column ``problem`` (string) says why a row has no usable position, and is null where it has one.
    """
    columns = [pl.col(name) if name in table.columns else pl.lit(None).alias(name) for name in COLUMNS]
    table = table.with_columns(columns).cast(COLUMNS).with_columns(cs.float().fill_nan(None))
    table = positions.complete_positions(table, one_plane=False)
    latitude, longitude = pl.col("latitude"), pl.col("longitude")
    missing = latitude.is_null() | longitude.is_null()
    problem = pl.when(missing).then(pl.lit(NO_POSITION)).otherwise(describe_impossible(latitude, longitude))
    return table.with_columns(problem=problem)


def take_located(table: pl.DataFrame, failed: dict[str, str]) -> pl.DataFrame:
    """Return the rows with a usable position, completed; of the others ``failed`` gets why, by their path."""
    table = complete_positions(table)
    usable = pl.col("problem").is_null()
    failed |= dict(table.filter(~usable).select("path", "problem").iter_rows())
    return table.filter(usable)


def to_points(latitude: Floats, longitude: Floats) -> Floats:
    """Return positions in degrees (...) as points (..., 3) in metres from the centre of the earth, taken as a sphere.

    Straight distances between such points are those on the ground to a few parts in a thousand, wherever on earth: no
    zones, no date line.
    """
    latitude, longitude = np.radians(latitude), np.radians(longitude)
    flat = np.cos(latitude)
    return EARTH_RADIUS * np.stack([flat * np.cos(longitude), flat * np.sin(longitude), np.sin(latitude)], axis=-1)


def to_degrees(points: Floats) -> tuple[Floats, Floats]:
    """Return latitude and longitude in degrees of points (..., 3), whatever their distance from the centre."""
    x, y, z = np.moveaxis(points, -1, 0)
    return np.degrees(np.arctan2(z, np.hypot(x, y))), np.degrees(np.arctan2(y, x))


def measure_distances(points: Floats, others: Floats) -> Floats:
    """Return the distances in metres between points (..., 3), broadcast against each other."""
    distances: Floats = np.linalg.norm(points - others, axis=-1)
    return distances
