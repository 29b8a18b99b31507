"""The located photos on a map: one HTML file that opens anywhere, offline."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.spatial import cKDTree

from progeo.data.sphere import to_points
from progeo.html.maps import MOST_DOTS, Layer, MapData, Sign, round_points, surround
from progeo.html.pages import write_page
from progeo.locating.estimate import Located
from progeo.locating.output.names import tell_apart
from progeo.locating.output.wording import describe_calibration
from progeo.pixels.recipe import Preprocessing, open_photo
from progeo.pixels.thumbnails import make_thumbnail


def write_map(
    results: list[Located],
    path: str | Path,
    *,
    positions: pl.DataFrame,
    thumbnail: Callable[[str], bytes],
    num_matches: int,
) -> None:
    """Write the results as a page with a map, the photos and their matches.

    Args:
        results: at least one.
        path: of the page.
        positions: of all photos of the database, ``latitude`` and ``longitude`` in degrees.
        thumbnail: from the id of a match to a JPEG.
        num_matches: shown for each photo.

    Raises:
        ProgeoError: the file cannot be written.
    """
    names = tell_apart(result.path for result in results)
    matches = tell_apart(match.path for result in results for match in result.estimate.matches[:num_matches])
    write_page(
        "html/map.html",
        path,
        map=draw_map(results, positions, num_matches),
        photos=[describe_photo(result, matches | names, thumbnail, num_matches) for result in results],
        calibration=describe_calibration(result.estimate for result in results),
        count=len(positions),
    )


def draw_map(results: list[Located], positions: pl.DataFrame, num_matches: int) -> MapData:
    """Return the estimates over the nearest photos of the database; it shows those of known places first.

    A photo whose position is not told has no sign of its own, only its matches.
    """
    estimates = [result.estimate for result in results]
    origin = estimates[0].matches[0].longitude
    at = [
        None
        if estimate.latitude is None or estimate.longitude is None
        else unwrap(estimate.latitude, estimate.longitude, origin)
        for estimate in estimates
    ]
    known = [point for point, estimate in zip(at, estimates, strict=True) if point and estimate.known is not False]
    around = [unwrap(estimate.matches[0].latitude, estimate.matches[0].longitude, origin) for estimate in estimates]
    dots, matches = select_places(results, positions), [estimate.matches[:num_matches] for estimate in estimates]
    return MapData(
        note=f"{sum(point is not None for point in at):,} estimates and {len(dots):,} places of the database",
        layers=[
            Layer("database", "dot", points=[unwrap(dot[0], dot[1], origin) for dot in dots]),
            Layer("estimate", "accent", "disc"),
            Layer("unknown place", "muted", "disc"),
        ],
        frame=surround(known or around),
        signs=[
            Sign(
                point,
                1 if estimate.known else 2,
                radius=estimate.radius_metres or 0.0,
                matches=[unwrap(match.latitude, match.longitude, origin) for match in shown],
            )
            for point, estimate, shown in zip(at, estimates, matches, strict=True)
        ],
        hover=False,
    )


def select_places(results: list[Located], positions: pl.DataFrame) -> list[list[float]]:
    """Return the places of the database nearest to the best matches, at most MOST_DOTS of them."""
    latitude, longitude = positions["latitude"].to_numpy(), positions["longitude"].to_numpy()
    estimates = np.array(
        [(result.estimate.matches[0].latitude, result.estimate.matches[0].longitude) for result in results]
    )
    distances, _ = cKDTree(to_points(estimates[:, 0], estimates[:, 1])).query(to_points(latitude, longitude))
    nearest = np.argsort(distances, kind="stable")[:MOST_DOTS]
    return round_points(np.unique(np.stack([latitude[nearest], longitude[nearest]], axis=1).round(6), axis=0))


def describe_photo(
    result: Located, names: dict[str, str], thumbnail: Callable[[str], bytes], num_matches: int
) -> dict[str, Any]:
    """Return what the page shows of one photo; ``names`` gives what a path is called."""
    return {
        "name": names[result.path],
        "picture": to_data_address(make_thumbnail(open_photo(result.path, Preprocessing(1)))),
        "estimate": result.estimate,
        "matches": [
            {"match": match, "name": names[match.path], "picture": to_data_address(thumbnail(match.id))}
            for match in result.estimate.matches[:num_matches]
        ],
    }


def unwrap(latitude: float, longitude: float, origin: float) -> list[float]:
    """Return a position on the map, in one piece with the longitude ``origin`` across the 180th meridian."""
    return [round(latitude, 7), round((longitude - origin + 180) % 360 - 180 + origin, 7)]


def to_data_address(jpeg: bytes) -> str:
    """Return a picture as an address that holds it."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
