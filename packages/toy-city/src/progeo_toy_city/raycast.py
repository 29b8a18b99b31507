"""Which walls a camera sees in each column of its picture, and the texels of those walls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from progeo_toy_city.facades import LEVELS, Facade
from progeo_toy_city.materials import Grid
from progeo_toy_city.plan import Wall

Integers = NDArray[np.int32]
Texels = NDArray[np.uint32]
REACH = 190.0
TALL = 3.0


@dataclass(frozen=True)
class WallTable:
    """All walls of a district as arrays of length W: geometry in metres, heights, and the texture of each."""

    start: Grid
    tangent: Grid
    normal: Grid
    length: Grid
    solid: Grid
    top: Grid
    texture: Integers


def tabulate(walls: list[Wall], solid: list[float], top: list[float], texture: list[int]) -> WallTable:
    """Return the walls as a table; ``solid`` is the height up to which a wall has no gaps, ``top`` its full height."""
    start = np.array([wall.start for wall in walls])
    along = np.array([wall.end for wall in walls]) - start
    length = np.linalg.norm(along, axis=1)
    tangent = along / length[:, None]
    normal = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)
    return WallTable(
        start=start.astype(np.float32),
        tangent=tangent.astype(np.float32),
        normal=normal.astype(np.float32),
        length=length.astype(np.float32),
        solid=np.asarray(solid, np.float32),
        top=np.asarray(top, np.float32),
        texture=np.asarray(texture, np.int32),
    )


@dataclass(frozen=True)
class Hits:
    """Where rays meet walls, nearest first within each column; arrays of length H.

    ``floor`` is the slope (height per distance, from the camera) below which nearer walls hide this one.
    """

    column: Integers
    wall: Integers
    distance: Grid
    along: Grid
    floor: Grid
    ceiling: Grid


def cast(table: WallTable, camera: tuple[float, float, float], rays: Grid) -> Hits:
    """Follow the horizontal unit vectors ``rays`` (C, 2) from the camera (x, y, z); return what they meet in sight."""
    offset = table.start - np.asarray(camera[:2], np.float32)
    away = (offset * table.normal).sum(axis=1)
    ahead = (offset * table.tangent).sum(axis=1)
    nearest = np.hypot(away, np.clip(0, ahead, ahead + table.length))
    near = np.flatnonzero((away < 0) & (nearest < REACH))
    middle = offset[near] + table.tangent[near] * (table.length[near, None] / 2)
    forwards = rays[len(rays) // 2]
    if rays[0] @ forwards > 0.5:
        # A view of less than 120 degrees: leave out walls that lie wholly behind the camera.
        near = near[(middle @ forwards) > -table.length[near]]
    facing = table.normal[near, :1] * rays[:, 0] + table.normal[near, 1:] * rays[:, 1]
    np.minimum(facing, np.float32(-1e-6), out=facing)
    distance = away[near, None] / facing
    sliding = table.tangent[near, :1] * rays[:, 0] + table.tangent[near, 1:] * rays[:, 1]
    sliding *= distance
    sliding -= ahead[near, None]
    met = (sliding >= 0) & (sliding <= table.length[near, None]) & (distance < REACH)
    which, column = np.nonzero(met)
    t = distance[which, column]
    order = np.lexsort((t, column))
    which, column, t = which[order], column[order], t[order]
    along, wall = sliding[which, column], near[which]
    return _visible(table, camera[2], len(rays), column, wall, t, along)


def _visible(
    table: WallTable,
    height: float,
    columns: int,
    column: NDArray[np.int64],
    wall: NDArray[np.int64],
    distance: Grid,
    along: Grid,
) -> Hits:
    """Keep the hits that nearer walls do not hide."""
    first = np.searchsorted(column, np.arange(columns))
    rank = np.arange(len(column)) - first[column]
    ranks = int(rank.max()) + 1 if len(rank) else 1
    solid = np.full((ranks + 1, columns), -np.inf, np.float32)
    solid[rank + 1, column] = (table.solid[wall] - height) / distance
    hidden_below = np.maximum.accumulate(solid, axis=0)
    floor = np.maximum(hidden_below[rank, column], -height / distance)
    ceiling = (table.top[wall] - height) / distance
    seen = ceiling > floor
    return Hits(
        column=column[seen].astype(np.int32),
        wall=wall[seen].astype(np.int32),
        distance=distance[seen],
        along=along[seen],
        floor=floor[seen],
        ceiling=ceiling[seen],
    )


@dataclass(frozen=True)
class Atlas:
    """All textures in one row of texels, column after column of each, at ``LEVELS`` sizes.

    Where each begins, its rows and its columns are arrays (T, LEVELS); ``scale`` (T,) is texels per metre at full size.
    """

    texels: Texels
    base: NDArray[np.int64]
    rows: Integers
    columns: Integers
    scale: Grid


def bind(facades: list[Facade]) -> Atlas:
    """Bind the textures of ``facades`` into an atlas."""
    parts: list[Texels] = []
    sizes = np.zeros((len(facades), LEVELS, 2), np.int32)
    for index, facade in enumerate(facades):
        for level, texels in enumerate(facade.levels):
            parts.append(np.ascontiguousarray(texels.T).ravel())
            sizes[index, level] = texels.shape
    ends = np.cumsum([len(part) for part in parts])
    base = np.concatenate([[0], ends[:-1]]).reshape(len(facades), LEVELS)
    scale = np.array([facade.scale for facade in facades], np.float32)
    return Atlas(np.concatenate(parts), base, sizes[:, :, 0], sizes[:, :, 1], scale)
