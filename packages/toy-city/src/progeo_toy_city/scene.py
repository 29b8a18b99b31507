"""A district ready to be photographed: walls with textures, ground, and things in their places."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from progeo_toy_city.facades import LEVELS, Facade, draw_facade, draw_hedge, draw_side
from progeo_toy_city.ground import MARGIN, Ground, draw_ground
from progeo_toy_city.looks import Look
from progeo_toy_city.materials import Grid
from progeo_toy_city.plan import Plan, Points, Wall
from progeo_toy_city.raycast import Atlas, WallTable, bind, cast, tabulate
from progeo_toy_city.relief import Relief, relief_solid
from progeo_toy_city.solids import Solid

CELL = 0.5  # metres of a cell in the rasters of heights and of lamp light


@dataclass(frozen=True)
class Placed:
    """A solid at a point of the plan, its x axis towards ``heading``."""

    solid: Solid
    x: float
    y: float
    heading: float


@dataclass(frozen=True)
class Scene:
    """Everything of a district that does not change from date to date."""

    plan: Plan
    table: WallTable
    atlas: Atlas
    ground: Ground
    heights: Grid
    lamplight: Grid
    reliefs: list[Placed]


@dataclass(frozen=True)
class WallJob:
    """A wall to be drawn, at ``scale`` texels per metre."""

    wall: Wall
    look: Look
    scale: float
    seed: tuple[int, ...]


DrawAll = Callable[[Callable[[WallJob], Facade], list[WallJob]], Iterable[Facade]]


def build_scene(
    plan: Plan, cameras: Iterable[tuple[float, float]], scale: float, seed: Sequence[int], draw_all: DrawAll = map
) -> Scene:
    """Build the district of ``plan``; walls that no camera at one of the points ``cameras`` sees stay blank.

    ``scale`` is texels per metre of facades; ``draw_all`` is ``map`` or an executor's, to draw facades side by side.
    """
    nearest = _nearest_views(plan, cameras)
    seen = np.flatnonzero(np.isfinite(nearest)).tolist()
    # Half the texels are enough for what is seen from 25 m at least, a quarter from 50 m.
    coarser = np.clip(np.floor(np.log2(nearest / 12.5)), 0, 2)
    jobs = [
        WallJob(wall, plan.looks[wall.building], scale / 2 ** int(coarser[index]), (*seed, 1, index))
        for index, wall in ((index, plan.walls[index]) for index in seen)
    ]
    facades = [blank_facade(), *draw_all(draw_wall, jobs)]
    texture = np.zeros(len(plan.walls), np.int32)
    texture[seen] = np.arange(1, len(seen) + 1)
    solid = _heights(plan)
    top = [facades[texture[index]].height if texture[index] else height for index, height in enumerate(solid)]
    reliefs = [_place_relief(plan.walls[index], relief) for index in seen for relief in facades[texture[index]].relief]
    return Scene(
        plan=plan,
        table=tabulate(plan.walls, solid, top, texture.tolist()),
        atlas=bind(facades),
        ground=draw_ground(plan, scale * 2 / 3, np.random.default_rng([*seed, 2])),
        heights=_height_raster(plan),
        lamplight=_lamp_raster(plan),
        reliefs=reliefs,
    )


def _place_relief(wall: Wall, relief: Relief) -> Placed:
    start, along = np.array(wall.start), np.array(wall.end) - np.array(wall.start)
    x, y = start + along / np.linalg.norm(along) * (relief.u + relief.width / 2)
    return Placed(relief_solid(relief), x, y, float(np.degrees(np.arctan2(along[1], -along[0])) % 360))


def draw_wall(job: WallJob) -> Facade:
    """Draw the facade of one wall."""
    rng, wall = np.random.default_rng(job.seed), job.wall
    width = float(np.hypot(wall.end[0] - wall.start[0], wall.end[1] - wall.start[1]))
    if wall.role == "hedge":
        return draw_hedge(job.look, width, job.scale, rng)
    if wall.role == "side":
        return draw_side(job.look, width, job.scale, rng)
    return draw_facade(job.look, width, job.scale, rng, entrance=wall.role == "front")


def blank_facade() -> Facade:
    """Return a grey wall for where no camera looks."""
    return Facade([np.full((1, 1), 0x00707478, np.uint32)] * LEVELS, 1.0, 8.0, [])


def _heights(plan: Plan) -> list[float]:
    """Return the height below which each wall has no openings."""
    return [1.2 if wall.role == "hedge" else plan.looks[wall.building].eaves for wall in plan.walls]


def _nearest_views(plan: Plan, cameras: Iterable[tuple[float, float]]) -> Grid:
    """Return how near each wall is to the nearest of ``cameras`` (x, y) that sees it; infinite if none does."""
    solid = _heights(plan)
    # Crowns are not drawn yet: walls count as somewhat higher than they are, so that none in sight is left out.
    table = tabulate(plan.walls, solid, [height + 3.0 for height in solid], [0] * len(plan.walls))
    angles = np.arange(720, dtype=np.float32) * np.float32(np.pi / 360)
    rays = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    nearest = np.full(len(plan.walls), np.inf, np.float32)
    for x, y in cameras:
        hits = cast(table, (x, y, 2.0), rays)
        np.minimum.at(nearest, hits.wall, hits.distance)
    return nearest


def _cells(points: Points) -> list[tuple[float, float]]:
    return [((x + MARGIN) / CELL, (y + MARGIN) / CELL) for x, y in points]


def _height_raster(plan: Plan) -> Grid:
    """Return heights of buildings on a grid of ``CELL`` metres, row 0 at y = -MARGIN."""
    side = round(plan.extent / CELL)
    raster = Image.new("F", (side, side))
    pen = ImageDraw.Draw(raster)
    for footprint, height in plan.footprints:
        pen.polygon(_cells(footprint), fill=float(height))
    return np.asarray(raster)


def _lamp_raster(plan: Plan) -> Grid:
    """Return the light of street lamps at the ground, about 1 beneath a lamp."""
    side = round(plan.extent / CELL)
    lamps = np.zeros((side, side), np.float32)
    for item in plan.items:
        if item.kind == "lamp":
            ahead = np.radians(item.heading + 180)
            ((column, row),) = _cells(np.array([[item.x + np.sin(ahead), item.y + np.cos(ahead)]]))
            lamps[int(row), int(column)] += 1
    # A bright pool beneath each lamp and a wide glow about it; the factors make the peaks 0.7 and 0.3.
    light = np.zeros_like(lamps)
    for reach, peak in ((3.2 / CELL, 0.7), (9.0 / CELL, 0.3)):
        light += ndimage.gaussian_filter(lamps, reach) * np.float32(peak * 2 * np.pi * reach**2)
    return np.minimum(light, np.float32(1.6))
