"""Latitude and longitude to UTM metres and back, on the WGS 84 ellipsoid.

A set of photos gets one zone, that of its centre, also where it lies across the border of two: PROJ's transverse
Mercator stays exact far beyond a zone's six degrees, and distances between the plain coordinates stay true to half a
percent over one zone more. Letters are latitude bands (C to X), of which N and later are north of the equator.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import polars as pl
from pyproj import Transformer

from progeo.errors import ProgeoError

Floats = npt.NDArray[np.float64]

LETTERS = "CDEFGHJKLMNPQRSTUVWX"


@dataclass(frozen=True)
class Zone:
    """A UTM zone of one hemisphere, such as 33 north; the south counts its metres from 10,000 km below the equator."""

    number: int
    is_north: bool

    @property
    def epsg(self) -> int:
        """The number of this coordinate system in the EPSG registry."""
        return (32600 if self.is_north else 32700) + self.number

    def __str__(self) -> str:
        """Return for example ``33 north``."""
        return f"{self.number} {'north' if self.is_north else 'south'}"


def to_utm(latitude: npt.ArrayLike, longitude: npt.ArrayLike, zone: Zone) -> tuple[Floats, Floats]:
    """Return UTM east and north in metres, float64 (N,), of positions in degrees, in one zone for all."""
    east, north = _transformer(zone).transform(np.asarray(longitude, float), np.asarray(latitude, float))
    return np.asarray(east), np.asarray(north)


def to_latitude_longitude(east: npt.ArrayLike, north: npt.ArrayLike, zone: Zone) -> tuple[Floats, Floats]:
    """Return latitude and longitude in degrees, float64 (N,), of UTM positions in metres."""
    longitude, latitude = _transformer(zone).transform(
        np.asarray(east, float), np.asarray(north, float), direction="INVERSE"
    )
    return np.asarray(latitude), np.asarray(longitude)


def find_zone_numbers(latitude: npt.ArrayLike, longitude: npt.ArrayLike) -> npt.NDArray[np.int32]:
    """Return the zone number that each position belongs to, 1 to 60.

    Zones are six degrees wide but for south-west Norway, where 32 is wider, and Svalbard, which has four wide ones.
    """
    latitude, longitude = np.asarray(latitude, float), (np.asarray(longitude, float) + 180) % 360 - 180
    numbers = np.floor((longitude + 180) / 6).astype(np.int32) + 1
    numbers = np.where((latitude >= 56) & (latitude < 64) & (longitude >= 3) & (longitude < 12), 32, numbers)
    svalbard = np.select([longitude < 9, longitude < 21, longitude < 33], [31, 33, 35], 37)
    numbers = np.where((latitude >= 72) & (longitude >= 0) & (longitude < 42), svalbard, numbers)
    return numbers.astype(np.int32)


def find_convergence(latitude: npt.ArrayLike, longitude: npt.ArrayLike, zone: npt.ArrayLike) -> Floats:
    """Return how far grid north is to the east of true north, in degrees (N,), for positions in degrees.

    Added to an angle from grid north it makes one from true north. Exact to a thousandth of a degree, as on a sphere.

    Args:
        latitude: (N,).
        longitude: (N,).
        zone: numbers of the zones whose grid is meant, (N,) or one for all.
    """
    from_middle = np.radians(np.asarray(longitude, float) - (6 * np.asarray(zone, float) - 183))
    convergence: Floats = np.degrees(np.arctan(np.tan(from_middle) * np.sin(np.radians(np.asarray(latitude, float)))))
    return convergence


def find_letters(latitude: npt.ArrayLike, zone: Zone) -> npt.NDArray[np.str_]:
    """Return the letter that goes with coordinates in ``zone``: the latitude band, kept in the zone's hemisphere.

    Beyond the equator it is the last letter before it, since N and later say that metres count from the equator.
    """
    bands = np.clip(np.floor((np.asarray(latitude, float) + 80) / 8), 0, len(LETTERS) - 1).astype(int)
    equator = LETTERS.index("N")
    bands = np.maximum(bands, equator) if zone.is_north else np.minimum(bands, equator - 1)
    letters: npt.NDArray[np.str_] = np.array(list(LETTERS))[bands]
    return letters


def parse_zone(text: str) -> Zone:
    """Read a zone written as its number and latitude band, such as ``44Q``.

    Raises:
        ProgeoError: it is something else.
    """
    match = re.fullmatch(f"([1-9]|[1-5][0-9]|60)([{LETTERS}])", text.strip().upper())
    if not match:
        raise ProgeoError(
            f"{text!r} is no UTM zone with its latitude band, such as 44Q: a number from 1 to 60 and a letter "
            "from C to X, of which N and later are north of the equator."
        )
    return Zone(int(match[1]), is_north(match[2]))


def is_north(letter: str) -> bool:
    """Return whether a latitude band is one north of the equator."""
    return letter.upper() >= "N"


def choose_zone(latitude: npt.ArrayLike, longitude: npt.ArrayLike) -> Zone:
    """Return the zone for a set of positions: that of their centre.

    Raises:
        ProgeoError: the positions span more than two neighbouring zones, too far for one plane.
    """
    latitude, longitude = np.asarray(latitude, float), np.asarray(longitude, float)
    numbers = np.unique(find_zone_numbers(latitude, longitude))
    gap = min((numbers[-1] - numbers[0]) % 60, (numbers[0] - numbers[-1]) % 60)
    # On Svalbard the even zones are missing.
    if len(numbers) > 2 or gap > (2 if latitude.min() >= 72 else 1):
        raise ProgeoError(
            f"The photos span more than two neighbouring UTM zones ({', '.join(map(str, numbers))}), latitude "
            f"{latitude.min():.2f} to {latitude.max():.2f} and longitude {longitude.min():.2f} to "
            f"{longitude.max():.2f}: too far for distances in metres on one plane. Split the set by region, one "
            "for each, and look for stray positions."
        )
    # The mean direction, so that a set on both sides of the 180th meridian has its centre there.
    angles = np.radians(longitude)
    centre = np.degrees(np.arctan2(np.sin(angles).mean(), np.cos(angles).mean()))
    return Zone(int(find_zone_numbers(latitude.mean(), centre)), bool(latitude.mean() >= 0))


def describe_impossible(latitude: pl.Expr, longitude: pl.Expr) -> pl.Expr:
    """Return what is wrong with each position (string), null where it is possible; both given in degrees."""
    return (
        pl.when(~(latitude.is_finite() & longitude.is_finite()).fill_null(False))
        .then(pl.lit("there is no latitude and longitude"))
        .when((latitude == 0) & (longitude == 0))
        .then(pl.lit("latitude and longitude are both 0, which devices write when they do not know"))
        .when(latitude.abs() > 90)
        .then(pl.format("latitude {} is not between -90 and 90", latitude))
        .when(longitude.abs() > 180)
        .then(pl.format("longitude {} is not between -180 and 180", longitude))
        .when(~latitude.is_between(-80, 84))
        .then(pl.format("latitude {} is beyond UTM, which goes from -80 to 84", latitude))
    )


@cache
def _transformer(zone: Zone) -> Transformer:
    return Transformer.from_crs(4326, zone.epsg, always_xy=True)
