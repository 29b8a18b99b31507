"""Pictures of a district: a panorama is filled column by column with sky, ground and walls, then things are put in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from progeo_toy_city import sky
from progeo_toy_city.drive import Drive
from progeo_toy_city.ground import MARGIN
from progeo_toy_city.materials import Grid
from progeo_toy_city.raycast import TALL, cast
from progeo_toy_city.scene import CELL, Scene
from progeo_toy_city.walls import Canvas, Frame, paint_walls


@dataclass
class Picture:
    """A panorama in the making: colours ``(rows, columns, 4)``, and by column how far tall and low walls are.

    ``low_row`` is the row where the low wall begins.
    """

    frame: Frame
    canvas: Canvas
    depth: Grid
    low_depth: Grid
    low_row: NDArray[np.int32]


def paint_town(scene: Scene, drive: Drive, frame: Frame, rng: np.random.Generator) -> Picture:
    """Return the panorama of everything that is fixed: sky, ground and walls."""
    canvas = np.empty((frame.rows, frame.columns, 4), np.uint8)
    rays = frame.rays
    _paint_sky(drive, frame, canvas)
    _paint_ground(scene, drive, frame, rays, canvas, rng)
    hits = cast(scene.table, (frame.x, frame.y, frame.z), rays)
    paint_walls(scene, drive, frame, rays, canvas, hits)
    depth, low_depth = (np.full(frame.columns, 1e9, np.float32) for _ in range(2))
    low_row = np.full(frame.columns, frame.rows, np.int32)
    tall = scene.table.solid[hits.wall] > TALL
    np.minimum.at(depth, hits.column[tall], hits.distance[tall])
    np.minimum.at(low_depth, hits.column[~tall], hits.distance[~tall])
    rows = ((frame.top - hits.ceiling[~tall]) * frame.density).astype(np.int32)
    np.minimum.at(low_row, hits.column[~tall], rows)
    return Picture(frame, canvas, depth, low_depth, low_row)


def _paint_sky(drive: Drive, frame: Frame, canvas: Canvas) -> None:
    horizon = min(int(frame.top * frame.density) + 1, frame.rows)
    turn = 2 * np.pi
    left = (frame.first % turn) / turn * sky.COLUMNS
    width = frame.columns / frame.density / turn * sky.COLUMNS
    upper = (sky.TOP - frame.top) / sky.TOP * sky.ROWS
    lower = min(upper + horizon / frame.density / sky.TOP * sky.ROWS, sky.ROWS)
    box = (left, max(upper, 0), min(left + width, 2 * sky.COLUMNS), lower)
    canvas[:horizon] = np.asarray(drive.sky.resize((frame.columns, horizon), Image.Resampling.BILINEAR, box=box))


def _paint_ground(
    scene: Scene, drive: Drive, frame: Frame, rays: Grid, canvas: Canvas, rng: np.random.Generator
) -> None:
    """Fill rows below the horizon, each of which lies at one distance from the camera."""
    conditions, ground = drive.conditions, scene.ground
    slopes = frame.slopes
    begin = int(np.searchsorted(-slopes, frame.z / 150))
    canvas[int(frame.top * frame.density) : begin, :, :3] = conditions.sky_low
    distance = frame.z / -slopes[begin:]
    footprint = np.sqrt(distance / frame.density * distance**2 / (frame.z * frame.density))
    levels = np.clip(np.round(np.log2(np.maximum(footprint * ground.scale, 1e-3)) - 0.2), 0, len(ground.levels) - 1)
    haze = 1 - np.exp(-distance / conditions.visibility)
    dark, mirror = 1.0, np.zeros_like(distance)
    if conditions.wet:
        # Wet ground is dark and, seen at a low angle, mirrors the sky.
        dark = 1 - 0.35 * conditions.wet
        mirror = conditions.wet * 0.42 * np.exp(-(frame.z / distance) * 3.2)
    gain = ((1 - haze) * dark * 256).clip(0, 256).astype(np.uint16)
    veil = np.zeros((len(distance), 4), np.uint16)
    veil[:, :3] = (haze + mirror * (1 - haze))[:, None] * conditions.sky_low
    side = drive.shadow.shape[0]
    jitter = rng.random((2, 64, 1 + frame.columns), dtype=np.float32) - np.float32(0.5)
    for level in np.unique(levels).astype(int):
        rows = np.flatnonzero(levels == level)
        band = slice(begin + rows[0], begin + rows[-1] + 1)
        t = distance[rows, None]
        x = t * rays[:, 0] + np.float32(frame.x + MARGIN)
        y = t * rays[:, 1] + np.float32(frame.y + MARGIN)
        # A random fraction of a texel hides the grid of texels where they are larger than pixels.
        noise = jitter[:, np.arange(len(rows)) % 64, : frame.columns]
        texels = ground.levels[level]
        scale = np.float32(ground.scale / 2**level)
        limit = texels.shape[0] - 1
        column = np.clip(x * scale + noise[0], 0, limit).astype(np.int32)
        row = np.clip(y * scale + noise[1], 0, limit).astype(np.int32)
        colours = texels.ravel().take(row * texels.shape[1] + column).view(np.uint8).reshape(*column.shape, 4)
        column = np.clip(x * np.float32(1 / CELL) + noise[1], 0, side - 1).astype(np.int32)
        row = np.clip(y * np.float32(1 / CELL) + noise[0], 0, side - 1).astype(np.int32)
        light = drive.ground_light.ravel().take(row * side + column).view(np.uint8).reshape(*column.shape, 4)
        if conditions.snow:
            colours = _snow_over(colours, drive.ground_snow, noise[0])
        shown = colours.astype(np.uint16)
        shown *= light
        shown >>= 6
        np.minimum(shown, 255, out=shown)
        shown *= gain[rows, None, None]
        shown >>= 8
        shown += veil[rows, None]
        canvas[band] = np.minimum(shown, 255, out=shown)


def _snow_over(colours: Canvas, snow: Grid, noise: Grid) -> Canvas:
    """Cover the ground with snow: more where its material holds more, and more on bright texels than on dark ones."""
    cover = snow.take(colours[:, :, 3]) * (1 + np.float32(0.5) * noise)
    cover += (colours[:, :, 1].astype(np.float32) - 90) * np.float32(0.002)
    np.clip(cover, 0, 1, out=cover)
    bright = colours + (238 - colours.astype(np.float32)) * cover[:, :, None]
    return bright.astype(np.uint8)
