"""The located photos on a map: one HTML file that opens anywhere, offline."""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from progeo.data.located import EARTH_RADIUS, Floats, to_points
from progeo.html.pages import write_page
from progeo.locating.estimate import Located
from progeo.places.database import PlaceDatabase
from progeo.places.describing import make_thumbnail, read_large

MOST_POINTS = 20_000
"""Photos of the database that are drawn, those nearest to the estimates."""


def write_map(results: list[Located], database: PlaceDatabase, path: str | Path, *, num_matches: int) -> None:
    """Write the results as a page with a map, the photos and their matches.

    Raises:
        ProgeoError: the file cannot be written.
    """
    first = results[0].estimate
    origin = project(np.array([first.latitude]), np.array([first.longitude]))[0]
    data = {
        "places": (select_places(results, database) - origin).round(1).tolist(),
        "photos": [describe_photo(result, database, origin, num_matches) for result in results],
    }
    write_page("map.html", path, data=data, calibrated=first.calibrated, count=len(database), results=results)


def select_places(results: list[Located], database: PlaceDatabase) -> Floats:
    """Return the places of the database nearest to the estimates, projected, at most MOST_POINTS of them."""
    positions = database.positions()
    latitude, longitude = positions["latitude"].to_numpy(), positions["longitude"].to_numpy()
    estimates = np.array([(result.estimate.latitude, result.estimate.longitude) for result in results])
    distances, _ = cKDTree(to_points(estimates[:, 0], estimates[:, 1])).query(to_points(latitude, longitude))
    nearest = np.argsort(distances, kind="stable")[:MOST_POINTS]
    return np.unique(project(latitude[nearest], longitude[nearest]).round(1), axis=0)


def describe_photo(result: Located, database: PlaceDatabase, origin: Floats, num_matches: int) -> dict[str, Any]:
    """Return what the page shows of one photo."""
    estimate = result.estimate
    matches = [
        {
            "name": Path(match.path).name,
            "at": place(match.latitude, match.longitude, origin),
            "metres": match.distance_metres,
            "difference": match.descriptor_distance,
            "picture": to_data_address(database.thumbnail(match.id)),
        }
        for match in estimate.matches[:num_matches]
    ]
    return {
        "name": Path(result.path).name,
        "picture": to_data_address(make_thumbnail(read_large(result.path, 0))),
        "known": estimate.known,
        "at": place(estimate.latitude, estimate.longitude, origin),
        "latitude": estimate.latitude,
        "longitude": estimate.longitude,
        "radius": estimate.radius_metres,
        "probability": estimate.probability,
        # Metres on the map are longer than on the ground, the more so the farther from the equator.
        "stretch": 1 / max(0.01, math.cos(math.radians(estimate.latitude))),
        "matches": matches,
    }


def project(latitude: Floats, longitude: Floats) -> Floats:
    """Return positions in degrees (N,) in Mercator's projection (N, 2), in metres at the equator, south positive."""
    latitude = np.radians(np.clip(latitude, -85, 85))
    return EARTH_RADIUS * np.stack([np.radians(longitude), -np.arctanh(np.sin(latitude))], axis=1)


def place(latitude: float, longitude: float, origin: Floats) -> list[float]:
    """Return where a position is drawn: x and y from the origin of the map."""
    point: list[float] = (project(np.array([latitude]), np.array([longitude]))[0] - origin).round(2).tolist()
    return point


def to_data_address(jpeg: bytes) -> str:
    """Return a picture as an address that holds it."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
