"""Eynsham: panoramas of five grey images each, taken on two rounds of one road, and a KML line of their positions.

``Images/grab_<seconds since 1970>….ppm`` and ``Route_map/Eynsham.kml``. The first panorama lies before the first
position; the first round is the database. Source: the archive as VPR-datasets-downloader reads it.
"""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from progeo.data.datasets.rows import drop_unlocated
from progeo.data.faults import Faults
from progeo.errors import ProgeoError
from progeo.files import read_text

NAME = "Eynsham"
TILES = 5


def find(folder: Path) -> list[Path]:
    """Return the line of positions."""
    return [path for path in [folder / "Route_map" / "Eynsham.kml"] if path.is_file()]


def read(relative_paths: pl.Series, folder: Path, faults: Faults | None) -> pl.DataFrame:
    """Return all images but those of the first panorama.

    Raises:
        ProgeoError: there are no five images for each position, or a position is impossible or cannot be read.
    """
    (source,) = find(folder)
    positions = _read_positions(source)
    paths = relative_paths.filter(relative_paths.str.starts_with("Images/")).sort()
    count = len(paths) // TILES - 1
    if len(paths) % TILES or not 2 <= count <= len(positions):
        raise ProgeoError(
            f"{folder / 'Images'} has {len(paths)} images, which are not {TILES} of each of the {len(positions)} "
            f"positions in {source}, and of the panorama before the first. Please unpack the archive again."
        )
    images = pl.DataFrame({"path": paths}).with_row_index("number").filter(pl.col("number") >= TILES)
    panorama = (pl.col("number") // TILES - 1).cast(pl.Int64)
    table = images.select(
        "path",
        latitude=positions["latitude"][images.select(panorama).to_series()],
        longitude=positions["longitude"][images.select(panorama).to_series()],
        pano_id=panorama.cast(pl.String).str.zfill(4),
        tile=(pl.col("number") % TILES).cast(pl.String),
        timestamp=pl.col("path").str.extract(r"grab_(1\d{9})"),
        role=pl.when(panorama < count // 2).then(pl.lit("database")).otherwise(pl.lit("queries")),
    )
    return drop_unlocated(table, source, faults)


def _read_positions(source: Path) -> pl.DataFrame:
    """Return latitudes and longitudes of the longest line in a KML file."""
    lines = re.findall(r"<coordinates>(.*?)</coordinates>", read_text(source), re.DOTALL)
    points = [point.split(",") for point in max(lines, key=len, default="").split()]
    try:
        return pl.DataFrame({"longitude": [float(x) for x, *_ in points], "latitude": [float(p[1]) for p in points]})
    except (ValueError, IndexError) as error:
        raise ProgeoError(f"{source} holds a position that cannot be read: {error}") from error
