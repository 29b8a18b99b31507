"""GSV-Cities: ``Dataframes/<city>.csv``, and images that are named after what stands in its rows.

``Images/<city>/<city_id>_<place_id>_<year>_<month>_<northdeg>_<lat>_<lon>_<panoid>.jpg``, with the place in seven
digits. Source: the README and the data loader of the repository amaralibey/gsv-cities.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from progeo.data.datasets.rows import Columns, match_files, read_columns
from progeo.data.faults import Faults
from progeo.data.geodesy import choose_zone
from progeo.data.positions import into_zone
from progeo.errors import ProgeoError

NAME = "GSV-Cities"
COLUMNS: Columns = {
    "place_id": pl.Int64,
    "year": pl.Int64,
    "month": pl.Int64,
    "northdeg": pl.Int64,
    "city_id": pl.String,
    "lat": pl.Float64,
    "lon": pl.Float64,
    "panoid": pl.String,
}
FILE_NAME = r"(?:^|/)([^/]+?)(_\d{7}_\d{4}_\d{2}_-?\d+_)[^_/]+_[^_/]+_([^/]+)\.\w+$"
"""Latitude and longitude are in no group: they tell no images apart, and their digits depend on who wrote them."""


def find(folder: Path) -> list[Path]:
    """Return the tables of the cities."""
    return sorted((folder / "Dataframes").glob("*.csv"))


def read(relative_paths: pl.Series, folder: Path, faults: Faults | None) -> pl.DataFrame:
    """Return the images of all cities, each city in the UTM zone of its centre."""
    parts = relative_paths.str.extract_groups(FILE_NAME).struct
    city, taken, pano_id = (parts.field(str(number)) for number in (1, 2, 3))
    files = pl.DataFrame({"city": city, "key": city + taken + pano_id, "path": relative_paths}).drop_nulls()
    tables = [table for path in find(folder) if len(table := _read_city(path, files, faults))]
    if not tables:
        raise ProgeoError(
            f"{folder} has the tables of GSV-Cities, but not one image that stands in them. They belong into "
            f"{folder / 'Images'}, in a folder for each city."
        )
    return pl.concat(tables).sort("path")


def _read_city(source: Path, files: pl.DataFrame, faults: Faults | None) -> pl.DataFrame:
    rows = read_columns(source, COLUMNS)
    place = pl.col("city_id") + "_" + pl.col("place_id").cast(pl.String).str.zfill(7)
    month = pl.col("month").cast(pl.String).str.zfill(2)
    taken = pl.concat_str("year", month, pl.col("northdeg").cast(pl.String).str.zfill(3), separator="_")
    rows = rows.select(
        key=pl.concat_str(place, taken, "panoid", separator="_"),
        place=place,
        city="city_id",
        latitude="lat",
        longitude="lon",
        heading=pl.col("northdeg").cast(pl.Float64) % 360,
        timestamp=pl.concat_str("year", month, separator="-"),
        pano_id="panoid",
    )
    own_files = files.filter(pl.col("city").is_in(rows["city"].unique().implode())).drop("city")
    table = match_files(rows, own_files, source, source.stem, faults)
    return into_zone(table, choose_zone(table["latitude"], table["longitude"])) if len(table) else table
