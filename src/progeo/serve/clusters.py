"""The database on a map: photos that would fall on one spot at a zoom are joined, so that answers stay small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

MAX_ZOOM = 22
TILE_SIZE = 256
CELL_SIZE = 16
"""Pixels of a cell whose photos are joined, on a map with tiles of 256 pixels."""
MAX_FEATURES = 4000
# Beyond this latitude the map is cut off (Web Mercator).
MAX_LATITUDE = 85.05112878


@dataclass(frozen=True)
class Box:
    """Bounds in degrees; where ``west`` is greater than ``east``, the box lies across the 180th meridian."""

    west: float
    south: float
    east: float
    north: float

    def contains(self) -> pl.Expr:
        """Return the expression that selects the rows inside."""
        latitude, longitude = pl.col("latitude"), pl.col("longitude")
        from_west, to_east = longitude >= self.west, longitude <= self.east
        across = self.west > self.east
        return latitude.is_between(self.south, self.north) & (from_west | to_east if across else from_west & to_east)


class PlacesMap:
    """The positions of a database, laid on the square of Web Mercator once.

    Attributes:
        total: number of photos.
    """

    def __init__(self, positions: pl.DataFrame) -> None:
        """Take a table with ``id``, ``latitude``, ``longitude`` and ``heading`` (degrees, may be null)."""
        self.total = len(positions)
        latitude = np.radians(positions["latitude"].to_numpy().clip(-MAX_LATITUDE, MAX_LATITUDE))
        self._table = positions.with_columns(
            x=pl.col("longitude") / 360 + 0.5,
            y=pl.Series(0.5 - np.arctanh(np.sin(latitude)) / (2 * np.pi)),
            count=pl.lit(1, pl.Int64),
        )

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
            west=pl.col("longitude").min(),
            south=pl.col("latitude").min(),
            east=pl.col("longitude").max(),
            north=pl.col("latitude").max(),
        )
        return {
            "type": "FeatureCollection",
            "bbox": list(bounds.row(0)),
            "total": self.total,
            "features": [
                {
                    "type": "Feature",
                    "geometry": {"type": "Point", "coordinates": [round(longitude, 7), round(latitude, 7)]},
                    "properties": {"id": id, "count": count, "heading": heading if count == 1 else None},
                }
                for longitude, latitude, id, count, heading in clusters.select(
                    "longitude", "latitude", "id", "count", "heading"
                ).iter_rows()
            ],
        }


def _join(table: pl.DataFrame, zoom: int) -> pl.DataFrame:
    """Return one row per cell of the grid at a zoom, from photos or from the cells of a larger zoom.

    At the largest zoom only photos of one spot share a cell.
    """
    cells = 2**zoom * TILE_SIZE / CELL_SIZE
    count = pl.col("count")
    mean = (pl.col("x", "y", "longitude", "latitude") * count).sum() / count.sum()
    column, row = (pl.col("x") * cells).floor().alias("column"), (pl.col("y") * cells).floor().alias("row")
    joined = table.group_by(column, row).agg(mean, count.sum(), pl.col("id", "heading").first())
    return joined.sort("column", "row")
