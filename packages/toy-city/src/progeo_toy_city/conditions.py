"""The conditions under which one street is photographed on one date: season, weather and light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from progeo_toy_city.materials import Colour

Tint = NDArray[np.float32]
Shares = tuple[float, float, float]
Range = tuple[float, float]
SEASONS = (*2 * ("winter",), *3 * ("spring",), *3 * ("summer",), *3 * ("autumn",), "winter")


@dataclass(frozen=True)
class _Weather:
    """A kind of weather: light as multipliers of what is painted, colours of the sky, and ranges to draw from."""

    sun: Shares
    ambient: Shares
    top: Colour
    low: Colour
    cloud: Colour
    cover: Range
    visibility: Range
    lit: Range
    wet: Range = (0.0, 0.0)
    snow: Range = (0.0, 0.0)


_WEATHERS = {
    "clear": _Weather(
        sun=(0.64, 0.6, 0.5), ambient=(0.57, 0.6, 0.66), top=(72, 124, 196), low=(178, 206, 230),
        cloud=(250, 250, 250), cover=(0.0, 0.4), visibility=(700, 1500), lit=(0.02, 0.04),
    ),
    "cloudy": _Weather(
        sun=(0.4, 0.38, 0.33), ambient=(0.63, 0.66, 0.72), top=(72, 124, 196), low=(178, 206, 230),
        cloud=(250, 250, 250), cover=(0.5, 0.75), visibility=(600, 1200), lit=(0.02, 0.06),
    ),
    "overcast": _Weather(
        sun=(0, 0, 0), ambient=(0.83, 0.85, 0.87), top=(178, 182, 188), low=(208, 211, 214), cloud=(226, 227, 230),
        cover=(1, 1), visibility=(350, 500), lit=(0.05, 0.15),
    ),
    "golden": _Weather(
        sun=(0.98, 0.66, 0.36), ambient=(0.52, 0.52, 0.62), top=(92, 122, 178), low=(246, 206, 160),
        cloud=(252, 206, 170), cover=(0.0, 0.4), visibility=(500, 1200), lit=(0.05, 0.2),
    ),
    "fog": _Weather(
        sun=(0, 0, 0), ambient=(0.78, 0.8, 0.82), top=(196, 200, 204), low=(208, 210, 212), cloud=(210, 212, 214),
        cover=(1, 1), visibility=(32, 75), lit=(0.05, 0.2),
    ),
    "rain": _Weather(
        sun=(0, 0, 0), ambient=(0.6, 0.64, 0.7), top=(112, 120, 130), low=(156, 162, 168), cloud=(150, 156, 164),
        cover=(1, 1), visibility=(110, 250), lit=(0.15, 0.35), wet=(0.7, 1.0),
    ),
    "snow": _Weather(
        sun=(0, 0, 0), ambient=(0.8, 0.84, 0.92), top=(190, 196, 206), low=(220, 224, 230), cloud=(214, 218, 226),
        cover=(1, 1), visibility=(90, 260), lit=(0.05, 0.25), snow=(0.7, 1.0),
    ),
    "night": _Weather(
        sun=(0, 0, 0), ambient=(0.15, 0.18, 0.26), top=(10, 13, 28), low=(44, 40, 52), cloud=(40, 38, 46),
        cover=(0.1, 0.8), visibility=(150, 700), lit=(0.25, 0.5), wet=(-1.0, 0.9),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Conditions:
    """Light and weather; colours are multipliers of what is painted (sun, ambient) or 0 to 255 (sky, cloud).

    ``sun_azimuth`` and ``sun_elevation`` are in degrees, ``visibility`` in metres; ``wet``, ``snow``, ``cover`` (of
    clouds) and ``lit`` (the share of windows with light) go from 0 to 1.
    """

    weather: str
    season: str
    sun_azimuth: float
    sun_elevation: float
    sun: Tint
    ambient: Tint
    sky_top: Tint
    sky_low: Tint
    cloud: Tint
    cover: float
    visibility: float
    wet: float
    snow: float
    lit: float

    @property
    def night(self) -> bool:
        """Whether the lamps are lit."""
        return self.weather == "night"


def draw_conditions(rng: np.random.Generator, month: int, weather: str) -> Conditions:
    """Draw the conditions of one outing by lot, given the month (1 to 12) and the weather (or "night")."""
    kind = _WEATHERS[weather]
    hour = rng.uniform(8.5, 16.5)
    azimuth = 90 + (hour - 6) * 15.0
    elevation = (24 + 42 * np.sin(np.pi * (month - 0.5) / 12) ** 2) * np.sin(np.pi * (hour - 5.5) / 13)
    if weather == "golden":
        azimuth, elevation = rng.uniform(*((80, 120) if hour < 12 else (240, 285))), rng.uniform(13, 24)
    ambient = np.array(kind.ambient) * (rng.uniform(0.7, 1.4) if weather == "night" else 1.0)
    return Conditions(
        weather=weather,
        season=SEASONS[month - 1],
        sun_azimuth=float(azimuth % 360),
        sun_elevation=float(max(elevation, 12.0)),
        sun=_tint(kind.sun),
        ambient=_tint(ambient),
        sky_top=_tint(kind.top),
        sky_low=_tint(kind.low),
        cloud=_tint(kind.cloud),
        cover=float(rng.uniform(*kind.cover)),
        visibility=float(rng.uniform(*kind.visibility)),
        wet=float(max(rng.uniform(*kind.wet), 0)),
        snow=float(rng.uniform(*kind.snow)),
        lit=float(rng.uniform(*kind.lit)),
    )


def _tint(colour: Shares | Colour | NDArray[np.float64]) -> Tint:
    return np.asarray(colour, np.float32)
