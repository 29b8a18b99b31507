"""Where, when and how each picture of the city is taken, and the name of its file; nothing is drawn here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pyproj import Transformer

from progeo.errors import ProgeoError
from progeo_toy_city.camera import Lens, Sensor, draw_sensor
from progeo_toy_city.conditions import Conditions, draw_conditions
from progeo_toy_city.plan import Plan
from progeo_toy_city.raycast import cast, tabulate

UTM_ZONE, UTM_LETTER = 32, "T"
CAR_HEIGHT, WALKER_HEIGHT = 2.4, 1.65
CAR_LENS = Lens(pitch=6.0, roll=0.0, field=72.0)
CAR_SENSOR = Sensor(tone=(1.05, 1.03, 1.0), contrast=1.05, saturation=1.0, noise=2.0, quality=92)
TRAIN_WEATHER = (
    "clear", "night", "overcast", "golden", "rain", "snow", "cloudy", "night", "fog", "clear", "golden", "overcast",
)  # fmt: skip
QUERY_WEATHER = ("night", "golden", "overcast", "snow", "night", "clear", "rain", "night", "cloudy", "fog")


@dataclass(frozen=True)
class District:
    """Where the plan of a district lies: UTM position of its origin in metres, compass heading of its y axis."""

    name: str
    number: int
    east: float
    north: float
    rotation: float

    def locate(self, x: float, y: float) -> tuple[float, float]:
        """Return UTM east and north of a point of the plan, to the centimetre."""
        turn = np.radians(self.rotation)
        east = self.east + x * np.cos(turn) + y * np.sin(turn)
        north = self.north - x * np.sin(turn) + y * np.cos(turn)
        return round(float(east), 2), round(float(north), 2)


@dataclass(frozen=True)
class Shot:
    """Pictures taken from one point (x, y, z in metres of the plan) at one moment, one for each compass heading."""

    x: float
    y: float
    z: float
    headings: tuple[float, ...]
    lens: Lens
    sensor: Sensor
    names: tuple[str, ...]
    seed: tuple[int, ...]


@dataclass(frozen=True)
class Outing:
    """Shots in one street on one date, which go to one folder."""

    folder: str
    conditions: Conditions
    seed: tuple[int, ...]
    shots: tuple[Shot, ...]


def draw_districts(seed: int, extent: float) -> list[District]:
    """Return the train, val and test districts, each ``extent`` metres wide and more than 100 m from the next."""
    rng = np.random.default_rng([seed, 1000])
    districts = []
    for number, name in enumerate(("train", "val", "test")):
        east, north = 516_000 + number * (1.5 * extent + 150) + rng.uniform(0, 50), 5_032_000 + rng.uniform(0, 50)
        districts.append(District(name, number, east, north, rng.uniform(-14, 14)))
    return districts


def plan_route(plan: Plan, places: int, spacing: float, rng: np.random.Generator) -> list[tuple[int, float]]:
    """Return ``places`` points, as street and distance from its start, every ``spacing`` metres along streets by lot.

    Streets of the two directions alternate.

    Raises:
        ProgeoError: If the streets are too short for so many places.
    """
    half = len(plan.streets) // 2
    streets = np.stack([rng.permutation(half), half + rng.permutation(half)], axis=1).ravel().tolist()
    route = [
        (street, float(distance))
        for street in streets
        for distance in np.arange(6.0, plan.streets[street].length - 6.0, spacing)
    ]
    if places > len(route):
        raise ProgeoError(
            f"{places} places do not fit into the streets of a toy city with {plan.blocks} by {plan.blocks} blocks, "
            f"only {len(route)} do. Ask for fewer places, or for more blocks."
        )
    return route[:places]


def plan_drives(
    district: District, plan: Plan, route: list[tuple[int, float]], folder: str, dates: int, spacing: float, seed: int
) -> list[Outing]:
    """Plan the panoramas of a car that drives along the route on several dates, 12 headings at each place."""
    outings = []
    for date in range(dates):
        rng = np.random.default_rng([seed, district.number, 1, date])
        weather = TRAIN_WEATHER[date % len(TRAIN_WEATHER)]
        month, year = _draw_month(weather, rng), 2012 + date % 12
        # The first date, on which databases are made, has a good camera.
        sensor = draw_sensor(rng) if date else CAR_SENSOR
        phase = rng.uniform(-spacing / 2, spacing / 2) if dates > 1 else 0.0
        for street in sorted({street for street, _ in route}):
            conditions = draw_conditions(rng, month, weather)
            shots = []
            for place, (where, distance) in enumerate(route):
                if where == street:
                    along = np.clip(distance + phase + rng.normal(0, 0.4), 2, plan.streets[street].length - 2)
                    x, y, _ = plan.streets[street].locate(float(along), rng.normal(1.3, 0.4))
                    numbers = (seed, district.number, 2, date, place)
                    headings = tuple(30.0 * tile for tile in range(12))
                    names = _names(
                        district, x, y, CAR_HEIGHT, headings, CAR_LENS, f"{year}{month:02d}", conditions, numbers
                    )
                    shots.append(Shot(x, y, CAR_HEIGHT, headings, CAR_LENS, sensor, names, numbers))
            outings.append(Outing(folder, conditions, (seed, district.number, 3, date, street), tuple(shots)))
    return outings


def plan_walks(
    district: District, plan: Plan, route: list[tuple[int, float]], folder: str, queries: int, seed: int
) -> list[Outing]:
    """Plan the queries: pictures by people on foot, off the car's places and headings, on dates of their own."""
    heights = [plan.looks[wall.building].eaves for wall in plan.walls]
    table = tabulate(plan.walls, heights, heights, [0] * len(plan.walls))
    outings = []
    shares = np.array_split(np.arange(queries), max(min(len(QUERY_WEATHER), queries), 1))
    for date, numbers in enumerate(shares):
        rng = np.random.default_rng([seed, district.number, 4, date])
        weather = QUERY_WEATHER[date % len(QUERY_WEATHER)]
        month, year = _draw_month(weather, rng), 2024 + date % 2
        conditions = draw_conditions(rng, month, weather)
        shots = []
        for number in numbers.tolist():
            street, distance = route[rng.integers(len(route))]
            reach = plan.streets[street].half_width - plan.streets[street].pavement - 0.3
            along = np.clip(distance + rng.uniform(-5, 5), 2, plan.streets[street].length - 2)
            x, y, _ = plan.streets[street].locate(float(along), rng.uniform(-reach, reach))
            lens = Lens(float(rng.uniform(2, 10)), float(rng.normal(0, 1.5)), float(rng.uniform(62, 78)))
            heading = 0.0
            for _ in range(20):
                heading = round(float(rng.uniform(0, 360)), 2) % 360
                turn = np.radians(heading - district.rotation)
                ahead = cast(
                    table, (x, y, WALKER_HEIGHT), np.array([[np.sin(turn), np.cos(turn)]], np.float32)
                ).distance
                # Nobody photographs a wall from close by, and a multiple of 30 degrees would be a heading of the car's.
                if (not len(ahead) or ahead.min() > 7) and min(heading % 30, 30 - heading % 30) > 2:
                    break
            key = (seed, district.number, 5, number)
            names = _names(district, x, y, WALKER_HEIGHT, (heading,), lens, f"{year}{month:02d}", conditions, key)
            shots.append(Shot(x, y, WALKER_HEIGHT, (heading,), lens, draw_sensor(rng), names, key))
        outings.append(Outing(folder, conditions, (seed, district.number, 6, date), tuple(shots)))
    return outings


def _draw_month(weather: str, rng: np.random.Generator) -> int:
    months = {"snow": (12, 1, 2), "fog": (10, 11, 12, 2, 3)}.get(weather, tuple(range(1, 13)))
    return int(months[rng.integers(len(months))])


_TO_DEGREES = Transformer.from_crs(f"EPSG:326{UTM_ZONE}", "EPSG:4326", always_xy=True)


def _names(
    district: District, x: float, y: float, height: float, headings: tuple[float, ...], lens: Lens, timestamp: str,
    conditions: Conditions, numbers: tuple[int, ...],
) -> tuple[str, ...]:  # fmt: skip
    """Return the file names of a shot, with fields between @ as in SF-XL."""
    east, north = district.locate(x, y)
    longitude, latitude = _TO_DEGREES.transform(east, north)
    panorama = "-".join([district.name, *(str(number) for number in numbers[3:])])
    return tuple(
        f"@{east:.2f}@{north:.2f}@{UTM_ZONE}@{UTM_LETTER}@{latitude:.7f}@{longitude:.7f}@{panorama}@{tile}"
        f"@{heading:.2f}@{lens.pitch:.2f}@{lens.roll:.2f}@{height:.2f}@{timestamp}@{conditions.weather}@.jpg"
        for tile, heading in enumerate(headings)
    )
