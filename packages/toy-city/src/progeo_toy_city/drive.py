"""One drive: a district on one date, with its light, its shadows, its sky, its parked cars and its passers-by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from progeo_toy_city.cars import VARIANTS, car
from progeo_toy_city.conditions import Conditions
from progeo_toy_city.ground import ASPHALT, GRASS, MARKING, PAVEMENT
from progeo_toy_city.materials import Grid
from progeo_toy_city.plan import Item
from progeo_toy_city.scene import CELL, Placed, Scene
from progeo_toy_city.sheet import PANES, SHOP_PANE, SIGN
from progeo_toy_city.sky import draw_sky
from progeo_toy_city.solids import furniture

LAMPLIGHT = np.array([1.0, 0.77, 0.47], np.float32)
FURNITURE = ("bench", "planter", "shelter")
SNOW_ON = {ASPHALT: 0.45, PAVEMENT: 0.8, MARKING: 0.35, GRASS: 0.95}


@dataclass(frozen=True)
class Drive:
    """What the renderer needs to know of a date; rasters are grids of ``CELL`` metres over the district.

    ``places`` (T, 2) and ``ranges`` belong to all things: those placed, the plan's items, and people. A range is the
    least and the largest distance at which a thing is drawn: nobody stands right before the lens.
    """

    conditions: Conditions
    sun: tuple[float, float, float]
    shadow: Grid
    ground_light: NDArray[np.uint32]
    ground_snow: Grid
    emission: Grid
    sky: Image.Image
    placed: list[Placed]
    people: list[Item]
    places: NDArray[np.float64]
    ranges: list[tuple[float, float]]


def prepare_drive(scene: Scene, conditions: Conditions, rotation: float, rng: np.random.Generator) -> Drive:
    """Prepare a date: cast the sun's shadows, light windows, paint the sky, park cars, and let people out.

    ``rotation`` is the compass heading of the plan's y axis in degrees.
    """
    azimuth = np.radians(conditions.sun_azimuth - rotation)
    rise = np.radians(conditions.sun_elevation)
    sun = (float(np.sin(azimuth) * np.cos(rise)), float(np.cos(azimuth) * np.cos(rise)), float(np.sin(rise)))
    shadow = cast_shadows(scene.heights, sun)
    # The sky goes round twice, so that any view is one piece of it.
    sky = np.tile(draw_sky(conditions, sun, rng), (1, 2, 1))
    placed = _cars(scene, conditions, rng)
    for item in scene.plan.items:
        if item.kind in FURNITURE:
            placed.append(Placed(furniture(item.kind, item.variant % 6), item.x, item.y, item.heading))
    snow = np.array([SNOW_ON.get(code, 0.5) for code in range(256)], np.float32) * conditions.snow
    people = _people(scene, conditions, rng)
    placed += scene.reliefs
    things: list[Placed | Item] = [*placed, *scene.plan.items, *people]
    places = np.array([(thing.x, thing.y) for thing in things])
    ranges = [_range(thing) for thing in things]
    return Drive(
        conditions=conditions,
        sun=sun,
        shadow=shadow,
        ground_light=_ground_light(scene, conditions, sun, shadow),
        ground_snow=snow,
        emission=_emission(conditions, rng),
        sky=Image.fromarray(sky).convert("RGBA"),
        placed=placed,
        people=people,
        places=places,
        ranges=ranges,
    )


def _range(thing: Placed | Item) -> tuple[float, float]:
    if isinstance(thing, Placed):
        return (3.6, 65.0) if thing.solid.shadow[0] > 3 else (0.5, 42.0)
    if thing.kind in FURNITURE:
        return np.inf, 0.0
    return 1.3, 80.0 if thing.kind in ("tree", "lamp") else 45.0


def cast_shadows(heights: Grid, sun: tuple[float, float, float]) -> Grid:
    """Return, for each cell, the height below which it is in the shadow of ``heights`` with the sun towards ``sun``."""
    flat = float(np.hypot(sun[0], sun[1]))
    drop = sun[2] / flat
    stride = 2 * CELL
    shadow = np.zeros_like(heights)
    side = heights.shape[0]
    distance = stride
    while distance * drop < heights.max() and distance < 90:
        columns, rows = round(sun[0] / flat * distance / CELL), round(sun[1] / flat * distance / CELL)
        here = tuple(slice(max(-shift, 0), side - max(shift, 0)) for shift in (rows, columns))
        there = tuple(slice(max(shift, 0), side - max(-shift, 0)) for shift in (rows, columns))
        np.maximum(shadow[here], heights[there] - distance * drop, out=shadow[here])
        distance += stride
    return shadow


def _ground_light(
    scene: Scene, conditions: Conditions, sun: tuple[float, float, float], shadow: Grid
) -> NDArray[np.uint32]:
    """Return the light on the ground by cell, packed in bytes, where 64 leaves a colour as it is."""
    sunny = np.clip(1 - ndimage.uniform_filter(shadow, 3) / 0.6, 0, 1)[:, :, None] * max(sun[2], 0.35)
    light = conditions.ambient + conditions.sun * sunny
    if conditions.night:
        light = light + scene.lamplight[:, :, None] * LAMPLIGHT
    quads = np.full((*shadow.shape, 4), 255, np.uint8)
    quads[:, :, :3] = np.clip(light * 64, 0, 255)
    return quads.view(np.uint32)[:, :, 0]


def _emission(conditions: Conditions, rng: np.random.Generator) -> Grid:
    """Return the light (256, 3) that texels give off by code: lit panes, shop windows and signs."""
    emission = np.zeros((256, 3), np.float32)
    dark = 1.0 if conditions.night else 0.3
    warm = np.array([[255, 206, 130], [255, 226, 170], [236, 240, 250], [255, 180, 100]], np.float32)
    lit = rng.random(PANES) < conditions.lit
    emission[1 : PANES + 1] = warm[rng.integers(0, 4, PANES)] * (lit * rng.uniform(0.35, 0.85, PANES))[:, None] * dark
    shops = rng.random(SIGN - SHOP_PANE) < (0.7 if conditions.night else 3 * conditions.lit)
    emission[SHOP_PANE:SIGN] = warm[1] * (shops * rng.uniform(0.35, 0.7, SIGN - SHOP_PANE))[:, None] * dark
    emission[SIGN] = warm[2] * (0.5 if conditions.night else 0.0)
    return emission


def _cars(scene: Scene, conditions: Conditions, rng: np.random.Generator) -> list[Placed]:
    """Park cars along the kerbs and let a few drive."""
    snowy = conditions.snow > 0.3
    placed = []
    busy = rng.uniform(0.3, 0.75)
    for slot in scene.plan.parking:
        if rng.random() < busy:
            turned = 180.0 * (rng.random() < 0.12)
            model = car(int(rng.integers(VARIANTS)), snowy)
            x, y = slot.x + rng.normal(0, 0.12), slot.y + rng.normal(0, 0.12)
            placed.append(Placed(model, x, y, slot.heading + turned + rng.normal(0, 1.5)))
    for street in scene.plan.streets:
        for side in (-1, 1):
            for distance in rng.uniform(12, street.length - 12, rng.integers(0, 3)):
                x, y, heading = street.locate(float(distance), side * 1.7)
                placed.append(Placed(car(int(rng.integers(VARIANTS)), False), x, y, heading + 180 * (side < 0)))
    return placed


def _people(scene: Scene, conditions: Conditions, rng: np.random.Generator) -> list[Item]:
    people = []
    crowd = 3 if conditions.night or conditions.wet else rng.integers(5, 14)
    for street in scene.plan.streets:
        for _ in range(crowd):
            aside = street.half_width - rng.uniform(0.6, street.pavement - 0.5)
            side = rng.choice([-1, 1])
            x, y, heading = street.locate(float(rng.uniform(4, street.length - 4)), side * aside)
            people.append(Item("person", x, y, heading, int(rng.integers(1000))))
    return people
