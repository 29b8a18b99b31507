"""Positions on the earth: completing what an image table says, and distances between points."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from progeo.images.table import FORMAT_HINT

Floats = NDArray[np.float64]

EARTH_RADIUS = 6_371_008.8
NO_POSITION = f"no latitude and longitude, and no UTM position with zone and letter ({FORMAT_HINT})"
OUT_OF_RANGE = "its position is out of range: latitudes go from -90 to 90, longitudes from -180 to 180"
NULL_ISLAND = "its position is 0, 0, which cameras write when they know none"


def complete_positions(table: pl.DataFrame) -> pl.DataFrame:
    """Return the table with all of latitude, longitude (degrees, WGS 84), UTM east, north (metres) and zone.

    Latitude and longitude count where both are given; else they follow from the UTM position, which needs its zone and
    letter. A further column ``problem`` (string) says why a row has no usable position, and is null where it has one.
    """
    table = table.with_columns(
        pl.lit(None, data_type).alias(name)
        for name, data_type in {
            **dict.fromkeys(("latitude", "longitude", "utm_east", "utm_north"), pl.Float64()),
            "utm_zone": pl.Int32(),
            "utm_letter": pl.String(),
        }.items()
        if name not in table.columns
    )
    latitude, longitude = (table[name].cast(pl.Float64).fill_null(np.nan).to_numpy(writable=True) for name in DEGREES)
    east, north = (table[name].cast(pl.Float64).fill_null(np.nan).to_numpy(writable=True) for name in METRES)
    zones = table["utm_zone"].fill_null(0).to_numpy()
    southern = (table["utm_letter"].str.to_uppercase() < "N").fill_null(False).to_numpy()
    usable = (zones >= 1) & (zones <= 60) & table["utm_letter"].is_not_null().to_numpy()

    missing = np.isnan(latitude) | np.isnan(longitude)
    for rows, utm in _group_by_zone(zones, southern, missing & usable):
        longitude[rows], latitude[rows] = utm.transform(east[rows], north[rows], direction="INVERSE")
    missing = ~(np.isfinite(latitude) & np.isfinite(longitude))
    out_of_range = ~missing & ((np.abs(latitude) > 90) | (np.abs(longitude) > 180))
    null_island = (latitude == 0) & (longitude == 0)

    good = ~(missing | out_of_range | null_island)
    zones = np.where(good, np.clip((np.where(good, longitude, 0) + 180) // 6 + 1, 1, 60), 0).astype(np.int32)
    for rows, utm in _group_by_zone(zones, latitude < 0, good):
        east[rows], north[rows] = utm.transform(longitude[rows], latitude[rows])
    problem = np.select([missing, out_of_range, null_island], [NO_POSITION, OUT_OF_RANGE, NULL_ISLAND], "")
    return table.with_columns(
        latitude=latitude,
        longitude=longitude,
        utm_east=east,
        utm_north=north,
        utm_zone=zones,
        problem=pl.Series(problem).replace("", None),
    )


DEGREES = ("latitude", "longitude")
METRES = ("utm_east", "utm_north")


def _group_by_zone(
    zones: NDArray[Any], southern: NDArray[np.bool_], wanted: NDArray[np.bool_]
) -> list[tuple[NDArray[np.int64], Transformer]]:
    """Return the wanted rows of each UTM zone and hemisphere, with the way from longitude and latitude to it."""
    groups = []
    for code in np.unique((zones * 2 + southern)[wanted]).tolist():
        zone, south = divmod(code, 2)
        utm = CRS.from_dict({"proj": "utm", "zone": zone, "south": bool(south), "datum": "WGS84"})
        rows = np.flatnonzero(wanted & (zones == zone) & (southern == bool(south)))
        groups.append((rows, Transformer.from_crs("EPSG:4326", utm, always_xy=True)))
    return groups


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
