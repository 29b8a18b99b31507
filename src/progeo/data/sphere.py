"""Distances between positions anywhere on the earth, taken as a sphere: true to a few parts in a thousand.

Positions become points in metres from the centre of the earth, so that there are no zones and no date line.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

EARTH_RADIUS = 6_371_008.8


def to_points(latitude: Floats, longitude: Floats) -> Floats:
    """Return positions in degrees (...) as points (..., 3) in metres."""
    latitude, longitude = np.radians(latitude), np.radians(longitude)
    flat = np.cos(latitude)
    return EARTH_RADIUS * np.stack([flat * np.cos(longitude), flat * np.sin(longitude), np.sin(latitude)], axis=-1)


def to_degrees(points: Floats) -> tuple[Floats, Floats]:
    """Return latitude and longitude in degrees of points (..., 3), whatever their distance from the centre."""
    x, y, z = np.moveaxis(points, -1, 0)
    return np.degrees(np.arctan2(z, np.hypot(x, y))), np.degrees(np.arctan2(y, x))


def measure_distances(points: Floats, others: Floats) -> Floats:
    """Return the straight distances in metres between points (..., 3), broadcast against each other."""
    distances: Floats = np.linalg.norm(points - others, axis=-1)
    return distances
