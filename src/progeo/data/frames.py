"""Where photos stand: on the earth, by latitude and longitude, or in a frame of their own, by x and y in metres.

A floor plan, a robot's map and UTM coordinates without a zone are local frames. A table tells its frame by its columns;
everything that measures distances takes points in metres and need not know.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl

from progeo.data.positions import take_located
from progeo.data.sphere import Floats, to_degrees, to_points

Frame = tuple[str, str]

EARTH: Frame = ("latitude", "longitude")
LOCAL: Frame = ("x", "y")

NOT_LOCAL = (
    "its position is on the earth (latitude and longitude, or UTM with a zone), and those of a local frame are x and y "
    "in metres; no database mixes them"
)
NO_LOCAL_POSITION = "no x and y in metres"


def find_frame(columns: Iterable[str]) -> Frame:
    """Return the frame of a table that has these columns."""
    return LOCAL if "x" in columns else EARTH


def read_points(table: pl.DataFrame) -> Floats:
    """Return where the photos of a table stand, as points (N, 3) in metres whose distances mean something."""
    frame = find_frame(table.columns)
    return place_points(table.select(frame).to_numpy(), frame)


def place_points(positions: Floats, frame: Frame) -> Floats:
    """Return positions (..., 2), in the order of the frame's columns, as points (..., 3) in metres."""
    first, second = positions[..., 0], positions[..., 1]
    return np.stack([first, second, np.zeros_like(first)], axis=-1) if frame == LOCAL else to_points(first, second)


def read_position(point: Floats, frame: Frame) -> tuple[float, float]:
    """Return the position of a point (3,): latitude and longitude, or x and y."""
    if frame == LOCAL:
        return float(point[0]), float(point[1])
    latitude, longitude = to_degrees(point)
    return float(latitude), float(longitude)


def take_placed(table: pl.DataFrame, frame: Frame, failed: dict[str, str]) -> pl.DataFrame:
    """Return the rows with a usable position in a frame; ``failed`` gets why by the others' path.

    On the earth as ``take_located``. In a local frame these are ``x`` and ``y``, or UTM coordinates of which no zone
    is known.
    """
    if frame == EARTH:
        return take_located(table, failed)
    if not {*LOCAL} <= {*table.columns}:
        names = ("utm_east", "utm_north", "utm_zone", "latitude")
        east, north, *earthly = (pl.col(name) if name in table.columns else pl.lit(None) for name in names)
        is_earthly = pl.any_horizontal(known.is_not_null() for known in earthly)
        table = table.with_columns(x=pl.when(~is_earthly).then(east), y=pl.when(~is_earthly).then(north))
    else:
        is_earthly = pl.lit(False)
    x, y = (pl.col(name).cast(pl.Float64) for name in LOCAL)
    is_usable = (x.is_finite() & y.is_finite()).fill_null(False)
    problem = pl.when(is_earthly).then(pl.lit(NOT_LOCAL)).when(~is_usable).then(pl.lit(NO_LOCAL_POSITION))
    table = table.with_columns(x, y, problem=problem)
    failed |= dict(table.select("path", "problem").drop_nulls("problem").iter_rows())
    return table.filter(pl.col("problem").is_null()).drop("problem")
