"""Coarse cells of the earth, which an index finds at once: what lies near a place is then looked for in few photos."""

from __future__ import annotations

import math
from typing import Any

from progeo.locating.prior import METRES_PER_DEGREE, Prior

COLUMN = "cell"
PER_DEGREE = 20
"""Cells of 0.05 degrees, 5.6 km from south to north."""
ROW = 360 * PER_DEGREE
"""Cells around the earth; they are numbered from west to east, then from south to north."""
MOST_RANGES = 16
"""A circle that reaches over more rows of cells is looked for in the whole band between its ends."""
SQL = f"cast((latitude + 90.0) * {PER_DEGREE}.0 as int) * {ROW} + cast((longitude + 180.0) * {PER_DEGREE}.0 as int)"
"""The cell of a row of the table."""


def find_cell(latitude: float, longitude: float) -> int:
    """Return the number of the cell that a position in degrees lies in."""
    return math.floor((latitude + 90.0) * PER_DEGREE) * ROW + math.floor((longitude + 180.0) * PER_DEGREE)


def find_ranges(prior: Prior) -> list[tuple[int, int]]:
    """Return first and last numbers of cells, which together hold all that lies near the place of a prior."""
    assert prior.near is not None and prior.within is not None
    latitude, longitude = map(float, prior.near)
    reach = prior.within / METRES_PER_DEGREE * 1.001  # rounding must lose nothing
    south, north = max(latitude - reach, -90.0), min(latitude + reach, 90.0)
    rows = range(math.floor((south + 90.0) * PER_DEGREE), math.floor((north + 90.0) * PER_DEGREE) + 1)
    if len(rows) > MOST_RANGES or abs(latitude) + reach >= 89.0:
        return [(rows[0] * ROW, rows[-1] * ROW + ROW)]
    # As wide as the circle is at its widest, which is nearer to the pole than its centre.
    sideways = math.degrees(math.asin(min(1.0, math.sin(math.radians(reach)) / math.cos(math.radians(latitude)))))
    west, east = longitude - sideways, longitude + sideways
    parts = [(west, east)]
    if west < -180.0:
        parts = [(-180.0, east), (west + 360.0, 180.0)]
    elif east > 180.0:
        parts = [(west, 180.0), (-180.0, east - 360.0)]
    return [
        (row * ROW + math.floor((first + 180.0) * PER_DEGREE), row * ROW + math.floor((last + 180.0) * PER_DEGREE))
        for row in rows
        for first, last in parts
    ]


def to_filter(photos: Any, prior: Prior | None) -> str | None:
    """Return the SQL condition that a prior makes on a table of photos, by way of cells where the table has them."""
    condition = prior.to_filter() if prior else None
    if prior is None or prior.near is None or COLUMN not in photos.schema.names:
        return condition
    ranges = " OR ".join(f"({COLUMN} >= {first} AND {COLUMN} <= {last})" for first, last in find_ranges(prior))
    return f"({ranges}) AND {condition}"
