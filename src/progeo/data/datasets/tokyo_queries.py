"""Queries of Tokyo 24/7: beside each photo a CSV file of one line, which starts with name, latitude and longitude.

Source: the archive 247query_subset_v2 as VPR-datasets-downloader reads it. Together with the database, the queries are
read from ``tokyo247.mat`` (``structures``); this is for the queries alone.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from progeo.data.datasets.rows import drop_unlocated
from progeo.data.faults import Faults, set_aside
from progeo.errors import ProgeoError
from progeo.files import read_text

NAME = "Tokyo 24/7, queries"
COLUMNS = {"path": pl.String, "latitude": pl.Float64, "longitude": pl.Float64, "problem": pl.String}


def find(folder: Path) -> list[Path]:
    """Return the CSV files of a folder that is called as the archive."""
    return sorted(folder.glob("*.csv")) if folder.resolve().name.startswith("247query") else []


def read(relative_paths: pl.Series, folder: Path, faults: Faults | None) -> pl.DataFrame:
    """Return the photos that lie in the folder itself.

    Raises:
        ProgeoError: a photo has no CSV file, or that says no possible position.
    """
    rows: list[dict[str, str | float]] = []
    for path in relative_paths.filter(~relative_paths.str.contains("/")):
        try:
            latitude, longitude = _read_position(folder / path)
            rows.append({"path": path, "latitude": latitude, "longitude": longitude})
        except ProgeoError as error:
            if faults is None:
                raise
            rows.append({"path": path, "problem": str(error)})
    table = pl.DataFrame(rows, schema=COLUMNS)
    if faults is not None:
        table = set_aside(table, table["problem"], "position", faults)
    table = table.select("path", "latitude", "longitude", pano_id=pl.col("path").str.extract(r"^(.*)\."))
    return drop_unlocated(table, folder, faults)


def _read_position(photo: Path) -> tuple[float, float]:
    """Return latitude and longitude from the CSV file beside a photo."""
    source = photo.with_suffix(".csv")
    try:
        _, latitude, longitude = read_text(source).split("\n")[0].split(",")[:3]
        return float(latitude), float(longitude)
    except FileNotFoundError as error:
        raise ProgeoError(f"{photo} has no {source.name} beside it, as the other photos have") from error
    except ValueError as error:
        raise ProgeoError(f"{source} does not start with a name, a latitude and a longitude: {error}") from error
