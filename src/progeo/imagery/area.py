"""The area whose pictures are wanted: a circle, a box or polygons, and the boxes that services are asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from progeo.data.sphere import EARTH_RADIUS, measure_distances, to_points
from progeo.errors import ProgeoError
from progeo.files import read_text
from progeo.plain import parse_json

METRES_PER_DEGREE = math.radians(1) * EARTH_RADIUS
MOST_BOXES = 5_000
"""That a service is asked for at first; a larger area is a mistake, or a case for the service's own bulk files."""


@dataclass(frozen=True)
class Box:
    """Degrees; it does not cross the 180th meridian."""

    west: float
    south: float
    east: float
    north: float

    def split(self) -> list[Box]:
        """Return its four quarters."""
        x, y = (self.west + self.east) / 2, (self.south + self.north) / 2
        return [
            Box(self.west, self.south, x, y),
            Box(x, self.south, self.east, y),
            Box(self.west, y, x, self.north),
            Box(x, y, self.east, self.north),
        ]

    def tile(self, height: float, width: float) -> Iterator[Box]:
        """Yield equal boxes that cover it, each at most so many degrees high and wide."""
        rows = max(1, math.ceil((self.north - self.south) / height - 1e-9))
        columns = max(1, math.ceil((self.east - self.west) / width - 1e-9))
        if rows * columns > MOST_BOXES:
            raise ProgeoError(
                f"The area is {self.north - self.south:.2f} by {self.east - self.west:.2f} degrees large, which takes "
                f"{rows * columns:,} questions to the service, more than {MOST_BOXES:,}. Please take a smaller area."
            )
        ys = np.linspace(self.south, self.north, rows + 1).tolist()
        xs = np.linspace(self.west, self.east, columns + 1).tolist()
        for row in range(rows):
            for column in range(columns):
                yield Box(xs[column], ys[row], xs[column + 1], ys[row + 1])

    @property
    def height_metres(self) -> float:
        """From south to north."""
        return (self.north - self.south) * METRES_PER_DEGREE

    def format(self) -> str:
        """Return ``west,south,east,north``."""
        return ",".join(f"{value:.7f}" for value in (self.west, self.south, self.east, self.north))


@dataclass(frozen=True)
class Area:
    """Boxes to ask for, and what of them is meant."""

    boxes: list[Box]
    text: str
    """In words."""
    centre: tuple[float, float] | None = None
    radius: float = 0.0
    """Metres around the centre."""
    polygons: list[list[NDArray[np.float64]]] = field(default_factory=list)
    """Each a list of rings (P, 2) of longitude and latitude, the outer one first."""

    def contains(self, latitude: float, longitude: float) -> bool:
        """Whether a position belongs to the area."""
        if self.centre is not None:
            points = to_points(np.array([self.centre[0], latitude]), np.array([self.centre[1], longitude]))
            return bool(measure_distances(points[0], points[1]) <= self.radius)
        if not any(box.south <= latitude <= box.north and box.west <= longitude <= box.east for box in self.boxes):
            return False
        if not self.polygons:
            return True
        return any(sum(_is_inside(ring, longitude, latitude) for ring in rings) % 2 == 1 for rings in self.polygons)


def make_area(
    near: tuple[float, float] | None = None,
    within: float | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    polygon: str | Path | None = None,
) -> Area:
    """Return the area around a place, in a box, or in the polygons of a GeoJSON file.

    Args:
        near: latitude and longitude in degrees.
        within: metres around ``near``.
        bbox: west, south, east and north in degrees.
        polygon: a GeoJSON file with a Polygon or a MultiPolygon, or features of these.

    Raises:
        ProgeoError: none or several of them are given, or one cannot be.
    """
    if sum(value is not None for value in (near, bbox, polygon)) != 1 or (near is None) != (within is None):
        raise ProgeoError("Please say which area: `near` and `within`, or `bbox`, or `polygon`, one of the three.")
    if near is not None and within is not None:
        return _make_circle(*near, within)
    if bbox is not None:
        west, south, east, north = bbox
        text = ",".join(f"{value:g}" for value in bbox)
        if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south < north <= 90) or west == east:
            raise ProgeoError(
                f"`bbox` {text} is no box: please give west,south,east,north in degrees, as 9.21,45.44,9.22,45.45, "
                "longitude first as in GeoJSON."
            )
        return Area(_cut_at_date_line(west, south, east, north), f"the box {text}")
    assert polygon is not None
    return _read_polygons(Path(polygon))


def _make_circle(latitude: float, longitude: float, radius: float) -> Area:
    """Return the area around a place."""
    if not (-90 < latitude < 90 and -180 <= longitude <= 180):
        raise ProgeoError(
            f"`near` {latitude:g},{longitude:g} is no place: please give latitude and longitude in degrees, as "
            "45.4432,9.2179."
        )
    height = radius / METRES_PER_DEGREE
    width = height / max(math.cos(math.radians(latitude)), 1e-3)
    boxes = _cut_at_date_line(
        longitude - width, max(-90.0, latitude - height), longitude + width, min(90.0, latitude + height)
    )
    return Area(boxes, f"{radius:g} m around {latitude:g},{longitude:g}", (latitude, longitude), radius)


def _cut_at_date_line(west: float, south: float, east: float, north: float) -> list[Box]:
    """Return one box, or two where it crosses the 180th meridian."""
    if west < -180:
        return [Box(west + 360, south, 180.0, north), Box(-180.0, south, east, north)]
    if east > 180:
        return [Box(west, south, 180.0, north), Box(-180.0, south, east - 360, north)]
    if west > east:
        return [Box(west, south, 180.0, north), Box(-180.0, south, east, north)]
    return [Box(west, south, east, north)]


def _read_polygons(path: Path) -> Area:
    """Return the area of a GeoJSON file."""
    try:
        polygons = list(_find_polygons(parse_json(read_text(path))))
        rings = [[np.asarray(ring, float)[:, :2] for ring in polygon] for polygon in polygons]
    except OSError as error:
        raise ProgeoError(f"`polygon` {path} cannot be read: {error.strerror}.") from error
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError) as error:
        raise ProgeoError(f"`polygon` {path} is no GeoJSON that can be read: {error}.") from error
    if not rings or not all(len(ring) >= 4 and np.isfinite(ring).all() for polygon in rings for ring in polygon):
        raise ProgeoError(f"`polygon` {path} holds no polygon: please draw one, and save it as GeoJSON.")
    boxes = []
    for polygon in rings:
        (west, south), (east, north) = polygon[0].min(axis=0), polygon[0].max(axis=0)
        if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
            raise ProgeoError(f"`polygon` {path} has positions that are no longitude and latitude in degrees.")
        boxes.append(Box(float(west), float(south), float(east), float(north)))
    return Area(boxes, f"the polygon in {path}", polygons=rings)


def _find_polygons(content: Any) -> Iterator[list[Any]]:
    """Yield the coordinates of all polygons of a GeoJSON object."""
    kind = content["type"]
    if kind == "FeatureCollection":
        for feature in content["features"]:
            yield from _find_polygons(feature)
    elif kind == "Feature":
        yield from _find_polygons(content["geometry"])
    elif kind == "Polygon":
        yield content["coordinates"]
    elif kind == "MultiPolygon":
        yield from content["coordinates"]


def _is_inside(ring: NDArray[np.float64], x: float, y: float) -> bool:
    """Whether a point is inside a closed ring (P, 2), by how often a line to the east crosses it."""
    x0, y0, x1, y1 = *ring[:-1].T, *ring[1:].T
    crosses = (y0 > y) != (y1 > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = x0 + (y - y0) / (y1 - y0) * (x1 - x0)
    return bool((crosses & (x < at)).sum() % 2)
