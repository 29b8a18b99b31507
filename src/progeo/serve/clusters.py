"""The database on a map: photos that would fall on one spot at a zoom are joined, so that answers stay small.

``right`` and ``up`` are longitude and latitude in degrees, or x and y in metres of a local frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from progeo.data.frames import EARTH, LOCAL, find_frame

MAX_ZOOM = 22
TILE_SIZE = 256
CELL_SIZE = 16
"""Pixels of a cell whose photos are joined, on a map with tiles of 256 pixels."""
MAX_FEATURES = 4000
# Beyond this latitude the map is cut off (Web Mercator).
MAX_LATITUDE = 85.05112878
EQUATOR = 40_075_016.686
"""Metres along the side of the square of Web Mercator; ``places.js`` draws local frames by the same measure."""


@dataclass(frozen=True)
class Box:
    """Bounds in degrees, or in metres of a local frame.

    Where ``west`` is greater than ``east``, the box lies across the 180th meridian.
    """

    west: float
    south: float
    east: float
    north: float

    def contains(self) -> pl.Expr:
        """Return the expression that selects the rows inside."""
        right, up = pl.col("right"), pl.col("up")
        from_west, to_east = right >= self.west, right <= self.east
        across = self.west > self.east
        return up.is_between(self.south, self.north) & (from_west | to_east if across else from_west & to_east)


class PlacesMap:
    """The positions of a database, laid on the square of Web Mercator once; a local frame as if it lay at its middle.

    Attributes:
        total: number of photos.
    """

    def __init__(self, positions: pl.DataFrame) -> None:
        """Take a table as ``PlaceDatabase.positions`` gives it."""
        self.total = len(positions)
        if find_frame(positions.columns) == LOCAL:
            right, up = (positions[name].to_numpy() for name in LOCAL)
            column, row = 0.5 + right / EQUATOR, 0.5 - up / EQUATOR
        else:
            up, right = (positions[name].to_numpy() for name in EARTH)
            latitude = np.radians(up.clip(-MAX_LATITUDE, MAX_LATITUDE))
            column, row = 0.5 + right / 360, 0.5 - np.arctanh(np.sin(latitude)) / (2 * np.pi)
        numbers = {"right": right, "up": up, "column": column, "row": row}
        columns = [pl.Series(name, values) for name, values in numbers.items()]
        self._table = positions.select("id", "heading", *columns, pl.lit(1, pl.Int64).alias("count"))

    def cluster(self, zoom: int, box: Box | None = None) -> dict[str, Any]:
        """Return a GeoJSON feature collection of the photos inside ``box``, joined as the zoom asks.

        Each feature stands at the mean position of ``count`` photos; ``id`` is one of them, ``heading`` is null but
        for photos that stand alone. Where there would be more than ``MAX_FEATURES``, they are joined as at a lower
        zoom. ``total`` is the number of photos in the whole database, ``bbox`` their bounds.
        """
        inside = self._table if box is None else self._table.filter(box.contains())
        clusters = _join(inside, zoom)
        while len(clusters) > MAX_FEATURES and zoom > 0:
            zoom -= 1
            clusters = _join(clusters, zoom)
        bounds = self._table.select(
            west=pl.col("right").min(), south=pl.col("up").min(), east=pl.col("right").max(), north=pl.col("up").max()
        )
        return {
            "type": "FeatureCollection",
            "bbox": list(bounds.row(0)),
            "total": self.total,
            "features": [
                {
                    "type": "Feature",
                    "geometry": {"type": "Point", "coordinates": [round(right, 7), round(up, 7)]},
                    "properties": {"id": id, "count": count, "heading": heading if count == 1 else None},
                }
                for right, up, id, count, heading in clusters.select(
                    "right", "up", "id", "count", "heading"
                ).iter_rows()
            ],
        }


def _join(table: pl.DataFrame, zoom: int) -> pl.DataFrame:
    """Return one row per cell of the grid at a zoom, from photos or from the cells of a larger zoom.

    At the largest zoom only photos of one spot share a cell.
    """
    cells = 2**zoom * TILE_SIZE / CELL_SIZE
    count = pl.col("count")
    mean = (pl.col("column", "row", "right", "up") * count).sum() / count.sum()
    cell = [(pl.col(name) * cells).floor().alias(f"cell_{name}") for name in ("column", "row")]
    joined = table.group_by(cell).agg(mean, count.sum(), pl.col("id", "heading").first())
    return joined.sort("cell_column", "cell_row").drop("cell_column", "cell_row")
