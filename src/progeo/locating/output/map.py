"""The located photos on a map: one HTML file that opens anywhere, offline."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.spatial import cKDTree

from progeo.data.frames import LOCAL, find_frame, place_points, read_points
from progeo.html.maps import MOST_DOTS, Layer, MapData, Sign, Tiles, surround
from progeo.html.pages import write_page
from progeo.locating.estimate import Located
from progeo.locating.output.names import tell_apart
from progeo.locating.output.wording import describe_calibration
from progeo.pixels.recipe import Preprocessing, open_photo
from progeo.pixels.thumbnails import make_thumbnail
from progeo.search.explanation import Explanation


def write_map(
    results: list[Located],
    path: str | Path,
    *,
    positions: pl.DataFrame,
    thumbnail: Callable[[str], bytes],
    num_matches: int,
    explanations: Sequence[Sequence[Explanation]] = (),
    tiles: Tiles | None = None,
) -> None:
    """Write the results as a page with a map, the photos and their matches.

    Args:
        results: at least one.
        path: of the page.
        positions: of all photos of the database, as ``PlaceDatabase.positions`` gives them.
        thumbnail: from the id of a match to a JPEG.
        num_matches: shown for each photo.
        explanations: of each photo's first matches, where they were compared.
        tiles: of a street map, which the page loads when it is opened; without them the ground is plain.

    Raises:
        ProgeoError: the file cannot be written.
    """
    names = tell_apart(result.path for result in results)
    matches = tell_apart(match.path for result in results for match in result.estimate.matches[:num_matches])
    write_page(
        "html/map.html",
        path,
        map=dataclasses.replace(draw_map(results, positions, num_matches), tiles=tiles),
        photos=[describe_photo(result, matches | names, thumbnail, num_matches) for result in results],
        calibration=describe_calibration(result.estimate for result in results),
        explanations=[[one.to_dict() for one in of_photo] for of_photo in explanations],
        count=len(positions),
    )


def draw_map(results: list[Located], positions: pl.DataFrame, num_matches: int) -> MapData:
    """Return the estimates over the nearest photos of the database; it shows those of known places first.

    A photo whose position is not told has no sign of its own, only its matches.
    """
    estimates = [result.estimate for result in results]
    is_local = estimates[0].is_local
    origin = None if is_local else estimates[0].matches[0].longitude
    at = [None if estimate.position is None else unwrap(estimate.position, origin) for estimate in estimates]
    known = [point for point, estimate in zip(at, estimates, strict=True) if point and estimate.known is not False]
    around = [unwrap(estimate.matches[0].position, origin) for estimate in estimates]
    dots, matches = select_places(results, positions), [estimate.matches[:num_matches] for estimate in estimates]
    return MapData(
        note=f"{sum(point is not None for point in at):,} estimates and {len(dots):,} places of the database",
        layers=[
            Layer("database", "dot", points=[unwrap(dot, origin) for dot in dots]),
            Layer("estimate", "accent", "disc"),
            Layer("unknown place", "muted", "disc"),
        ],
        frame=surround(known or around),
        signs=[
            Sign(
                point,
                1 if estimate.known else 2,
                radius=estimate.radius_metres or 0.0,
                matches=[unwrap(match.position, origin) for match in shown],
            )
            for point, estimate, shown in zip(at, estimates, matches, strict=True)
        ],
        flat=is_local,
        hover=False,
    )


def select_places(results: list[Located], positions: pl.DataFrame) -> list[tuple[float, float]]:
    """Return the places of the database nearest to the best matches, at most MOST_DOTS of them."""
    frame = find_frame(positions.columns)
    matches = np.array([result.estimate.matches[0].position for result in results])
    distances, _ = cKDTree(place_points(matches, frame)).query(read_points(positions))
    nearest = np.argsort(distances, kind="stable")[:MOST_DOTS]
    places = positions.select(frame).to_numpy()[nearest].round(1 if frame == LOCAL else 6)
    return [(first, second) for first, second in np.unique(places, axis=0).tolist()]


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


def unwrap(position: tuple[float, float], origin: float | None) -> list[float]:
    """Return a position on the map: upwards, then to the right.

    Those on the earth are in one piece with the longitude ``origin`` across the 180th meridian; without one a position
    is x and y in metres.
    """
    if origin is None:
        return [round(position[1], 2), round(position[0], 2)]
    latitude, longitude = position
    return [round(latitude, 7), round((longitude - origin + 180) % 360 - 180 + origin, 7)]


def to_data_address(jpeg: bytes) -> str:
    """Return a picture as an address that holds it."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
