"""The maps of pages as plain data; ``static/map.js`` draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from progeo.data.geodesy import Zone, is_north, to_latitude_longitude
from progeo.data.zones import number_zones
from progeo.search.exact import Floats, Integers

MOST_DOTS = 20_000
MOST_MAPS = 6


@dataclass(frozen=True, eq=False)
class Layer:
    """Points of one kind, and how they and the signs of this kind look."""

    label: str
    colour: str
    """A variable of the style sheet, without its dashes."""
    shape: Literal["dot", "disc", "cross", "triangle"] = "dot"
    points: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Sign:
    """A point that can be picked: then its text, its circle and its numbered matches are shown."""

    at: list[float] | None
    """None where only the matches are shown."""
    layer: int
    text: str = ""
    radius: float = 0.0
    """Of the circle in metres; without one the point gets a ring."""
    matches: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True)
class Tiles:
    """A street map below a map, from another server."""

    address: str
    """With ``{z}``, ``{x}`` and ``{y}``."""
    attribution: str
    """Whom to name as their source."""

    @property
    def origin(self) -> str:
        """The server, as a content security policy names it."""
        scheme, _, rest = self.address.partition("://")
        return f"{scheme}://{rest.partition('/')[0].replace('{s}', '*')}"


@dataclass(frozen=True, eq=False)
class MapData:
    """A map. Points are pairs of latitude and longitude in degrees; north and east in metres where it is ``flat``."""

    note: str
    """What is on it, in words."""
    layers: list[Layer]
    frame: list[float]
    """South, west, north and east of what it shows at first."""
    signs: list[Sign] = field(default_factory=list)
    title: str = ""
    flat: bool = False
    tiles: Tiles | None = None
    hover: bool = True
    """Whether pointing at a sign picks it, as on a page that is read; otherwise a click does."""

    def to_dict(self) -> dict[str, Any]:
        """Return what the script reads."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Ground:
    """Images that one map can show, as their metres count from one origin."""

    title: str
    rows: Integers
    """(R,) of the table."""
    zone: Zone | None
    """None where nobody knows it: then the map is flat."""

    def place(self, positions: Floats) -> list[list[float]]:
        """Return where positions (P, 2), east and north in metres, come to stand on the map."""
        if self.zone is None:
            return round_points(positions[:, ::-1], 1)
        latitude, longitude = to_latitude_longitude(positions[:, 0], positions[:, 1], self.zone)
        # In one piece where the zone lies at the 180th meridian.
        middle = 6 * self.zone.number - 183
        return round_points(np.stack([latitude, (longitude - middle + 180) % 360 - 180 + middle], axis=1))


def split_by_zone(table: pl.DataFrame, weight: NDArray[Any] | None = None) -> list[Ground]:
    """Return the grounds of an image table, at most MOST_MAPS of them.

    Args:
        table: ``utm_east``, ``utm_north``, ``utm_zone`` and ``utm_letter``.
        weight: (I,) of each image; the grounds with most come first, those without any are left out.
    """
    numbers = number_zones(table)
    weights = np.bincount(numbers, np.ones(len(table)) if weight is None else weight)
    grounds = []
    for number in np.argsort(-weights, kind="stable")[:MOST_MAPS].tolist():
        if weights[number] > 0:
            rows = np.flatnonzero(numbers == number)
            zone = find_zone(table[rows])
            title = f"UTM zone {zone.number if zone else 'not known'}" if len(weights) > 1 else ""
            grounds.append(Ground(title, rows, zone))
    return grounds


def find_zone(table: pl.DataFrame) -> Zone | None:
    """Return the only zone of an image table, None where it is not known or its positions cannot lie in it."""
    zones, letters = (table[column].drop_nulls().unique().to_list() for column in ("utm_zone", "utm_letter"))
    norths = {is_north(letter) for letter in letters}
    if len(zones) != 1 or len(norths) != 1:
        return None
    zone = Zone(zones[0], *norths)
    east, north = (np.array([table[column].min(), table[column].max()]) for column in ("utm_east", "utm_north"))
    latitude, _ = to_latitude_longitude(east, north, zone)
    return zone if np.all(np.abs(latitude) <= 85) else None


def thin_out(positions: Floats, what: str) -> tuple[Integers, str]:
    """Choose which of many images are drawn: of those that coincide one, and at most MOST_DOTS.

    Args:
        positions: (P, d) in metres.
        what: the images in words, ``12 database images``.

    Returns:
        The rows, ascending, and a note that says what is drawn.
    """
    table = pl.DataFrame(positions.round(1), orient="row").with_row_index("row")
    rows = table.unique([name for name in table.columns if name != "row"], keep="first")["row"].sort().to_numpy()
    if len(rows) > MOST_DOTS:
        chosen = np.random.default_rng(0).choice(rows, MOST_DOTS, replace=False)
        return np.sort(chosen).astype(np.int64), f"{what} (as {MOST_DOTS:,} dots, picked at random)"
    if len(rows) < len(positions):
        what = f"{what} (those that coincide as one dot)"
    return rows.astype(np.int64), what


def surround(points: Sequence[Sequence[float]]) -> list[float]:
    """Return south, west, north and east of points on a map."""
    array = np.asarray(points, dtype=np.float64)
    return [*array.min(axis=0).tolist(), *array.max(axis=0).tolist()]


def round_points(points: Floats, digits: int = 6) -> list[list[float]]:
    """Return points (P, 2) as lists, to a tenth of a metre with six digits of a degree."""
    rounded: list[list[float]] = np.asarray(points, dtype=np.float64).round(digits).tolist()
    return rounded
