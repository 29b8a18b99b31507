"""Queries of Tokyo 24/7: beside each photo a CSV file of one line, which starts with name, latitude and longitude.

Source: the archive 247query_subset_v2 as VPR-datasets-downloader reads it. Together with the database, the queries are
read from ``tokyo247.mat`` (``structures``); this is for the queries alone.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from progeo.errors import ProgeoError

NAME = "Tokyo 24/7, queries"


def find(folder: Path) -> list[Path]:
    """Return the CSV files of a folder that is called as the archive."""
    return sorted(folder.glob("*.csv")) if folder.resolve().name.startswith("247query") else []


def read(relative_paths: pl.Series, folder: Path) -> pl.DataFrame:
    """Return the photos that lie in the folder itself.

    Raises:
        ProgeoError: a photo has no CSV file, or that says no position.
    """
    rows = []
    for path in relative_paths.filter(~relative_paths.str.contains("/")):
        source = (folder / path).with_suffix(".csv")
        try:
            _, latitude, longitude = source.read_text(encoding="utf-8").split("\n")[0].split(",")[:3]
            rows.append({"path": path, "latitude": float(latitude), "longitude": float(longitude)})
        except FileNotFoundError as error:
            raise ProgeoError(f"{folder / path} has no {source.name} beside it, as the other photos have.") from error
        except ValueError as error:
            raise ProgeoError(f"{source} does not start with a name, a latitude and a longitude: {error}.") from error
    return pl.DataFrame(rows).with_columns(pano_id=pl.col("path").str.extract(r"^(.*)\."))
