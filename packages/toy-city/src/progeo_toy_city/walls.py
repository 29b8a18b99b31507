"""Walls in a panorama: each column is filled with texels of the walls it meets, lit by sun, sky and lamps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from progeo_toy_city.drive import LAMPLIGHT, Drive
from progeo_toy_city.facades import LEVELS
from progeo_toy_city.ground import MARGIN
from progeo_toy_city.materials import Grid
from progeo_toy_city.raycast import Hits, Integers
from progeo_toy_city.scene import CELL, Scene
from progeo_toy_city.sheet import OPEN

Canvas = NDArray[np.uint8]
BANDS = 8  # heights at which lamplight on walls is worked out
BAND = 1.2  # metres from one to the next


@dataclass(frozen=True)
class Frame:
    """What a panorama covers: columns at equal angles from ``first`` (radians, clockwise), rows at equal slopes.

    The camera is at (x, y, z) in metres. Slope is height per distance; it is ``top`` at the upper edge. ``density`` is
    pixels per radian across, and per unit of slope downwards.
    """

    x: float
    y: float
    z: float
    first: float
    top: float
    columns: int
    rows: int
    density: float

    @property
    def rays(self) -> Grid:
        """Horizontal directions of the columns, ``(columns, 2)``."""
        angles = self.first + (np.arange(self.columns) + 0.5) / self.density
        return np.stack([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)

    @property
    def slopes(self) -> Grid:
        """Slopes of the rows, falling."""
        return (self.top - (np.arange(self.rows) + 0.5) / self.density).astype(np.float32)


def paint_walls(scene: Scene, drive: Drive, frame: Frame, rays: Grid, canvas: Canvas, hits: Hits) -> None:
    """Fill those parts of the canvas ``(rows, columns, 4)`` where walls are seen, the farthest walls first."""
    table, atlas = scene.table, scene.atlas
    top, bottom = (
        np.clip(np.ceil((frame.top - slope) * frame.density - 0.5), 0, frame.rows).astype(np.int32)
        for slope in (hits.ceiling, hits.floor)
    )
    shown = np.flatnonzero(bottom > top)
    shown = shown[np.argsort(-hits.distance[shown], kind="stable")]
    top, bottom = top[shown], bottom[shown]
    wall, column, distance = hits.wall[shown], hits.column[shown], hits.distance[shown]
    texture = table.texture[wall]
    facing = np.abs((table.normal[wall] * rays[column]).sum(axis=1))
    footprint = distance / frame.density * atlas.scale[texture] * np.maximum(facing, 0.08) ** -0.6
    level = np.clip(np.round(np.log2(footprint) - 0.15), 0, LEVELS - 1).astype(np.int32)
    rows, columns = atlas.rows[texture, level], atlas.columns[texture, level]
    u = np.clip((hits.along[shown] / table.length[wall] * columns).astype(np.int32), 0, columns - 1)
    first_texel = (atlas.base[texture, level] + u.astype(np.int64) * rows).astype(np.int32)
    # Height is z = camera + slope * distance, so that texel rows grow linearly from row to row of the picture. A little
    # less than all rows are used, so that no rounding leads beyond the last.
    per_metre = (rows - 0.01) / table.top[wall]
    step = (distance / frame.density * per_metre).astype(np.float32)
    start = ((table.top[wall] - frame.z - (frame.top - 0.5 / frame.density) * distance) * per_metre).astype(np.float32)

    lengths = bottom - top
    span = np.repeat(np.arange(len(shown), dtype=np.int32), lengths)
    row = np.arange(len(span), dtype=np.int32)
    row -= np.repeat((np.cumsum(lengths) - lengths - top).astype(np.int32), lengths)
    texel_row = step.take(span)
    texel_row *= row
    texel_row += start.take(span)
    texel = texel_row.astype(np.int32)
    texel += first_texel.take(span)
    texels = atlas.texels.take(texel)
    colours = texels.view(np.uint8).reshape(-1, 4)
    codes = colours[:, 3].copy()

    gains, veil, edge = _light_on(scene, drive, frame, rays, wall, column, distance)
    if drive.conditions.night:
        # Which band of height the pixel is in.
        band = (table.top[wall] / BAND).astype(np.float32).take(span)
        band -= texel_row * (1 / (per_metre * BAND)).astype(np.float32).take(span)
        lit = np.clip(band, 0, BANDS - 1, out=band).astype(np.int32)
        lit += span * np.int32(BANDS)
    else:
        # Whether the pixel is above the edge of the shadow: texel rows count downwards.
        edge_row = ((table.top[wall] - edge) * per_metre).astype(np.float32)
        lit = span * np.int32(2)
        lit += texel_row < edge_row.take(span)
    result = colours.astype(np.uint16)
    result *= gains.take(lit).view(np.uint8).reshape(-1, 4)
    result >>= 7
    result += veil.take(span).view(np.uint8).reshape(-1, 4)
    glowing = np.flatnonzero(drive.emission.any(axis=1).take(codes))
    if len(glowing):
        # A lit room shines through what hangs in its window, and through bare glass too.
        light = drive.emission.take(codes[glowing], axis=0)
        result[glowing, :3] += (light * (colours[glowing, :3] * np.float32(1 / 120) + np.float32(0.4))).astype(
            np.uint16
        )
    np.minimum(result, 255, out=result)
    target = row
    target *= np.int32(frame.columns)
    target += column.take(span)
    pixels = result.astype(np.uint8).view(np.uint32)[:, 0]
    solid = np.flatnonzero(codes != OPEN)
    canvas.view(np.uint32).ravel()[target.take(solid)] = pixels.take(solid)


def _light_on(
    scene: Scene, drive: Drive, frame: Frame, rays: Grid, wall: Integers, column: Integers, distance: Grid
) -> tuple[NDArray[np.uint32], NDArray[np.uint32], Grid]:
    """Return the light on pieces of walls, the haze before them, and the height of the shadow's edge on them.

    Light is packed in bytes, 128 for colours as they are painted, and comes by piece and then in shadow and in the sun,
    or at night in ``BANDS`` of height.
    """
    conditions, normal = drive.conditions, scene.table.normal[wall]
    # Light is looked up a little before the wall, where the raster of heights is free of the wall itself.
    x = frame.x + MARGIN + rays[column, 0] * distance + normal[:, 0] * np.float32(1.2)
    y = frame.y + MARGIN + rays[column, 1] * distance + normal[:, 1] * np.float32(1.2)
    cell = np.stack([y, x]) / CELL - 0.5
    # Walls of one side get a little less of the sky's light, so that corners show even on dull days.
    plain = (0.9 + 0.1 * (normal @ np.array([0.6, -0.8], np.float32)))[:, None, None] * conditions.ambient
    if conditions.night:
        height = (np.arange(BANDS, dtype=np.float32) + 0.5) * BAND
        falloff = 1 / (1 + ((height - 3.2) * 0.3) ** 2)
        lamps = ndimage.map_coordinates(scene.lamplight, cell, order=1, mode="nearest")[:, None, None] * LAMPLIGHT
        light = plain + lamps * falloff[None, :, None]
    else:
        sun = np.maximum(normal @ np.asarray(drive.sun[:2], np.float32), 0)[:, None] * conditions.sun
        light = plain + sun[:, None, :] * np.array([0.0, 1.0], np.float32)[None, :, None]
    clear = np.exp(-distance / conditions.visibility)
    gains = np.zeros((*light.shape[:2], 4), np.uint8)
    gains[:, :, :3] = np.minimum(light * (128 * clear[:, None, None]), 255)
    veil = np.zeros((len(wall), 4), np.uint8)
    veil[:, :3] = (1 - clear)[:, None] * conditions.sky_low
    edge = ndimage.map_coordinates(drive.shadow, cell, order=1, mode="nearest")
    return gains.view(np.uint32).ravel(), veil.view(np.uint32).ravel(), edge
