"""Puts things into a panorama: trees, people, posts, cars and awnings, the farthest first, behind nearer walls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from progeo_toy_city.drive import LAMPLIGHT, Drive
from progeo_toy_city.ground import MARGIN
from progeo_toy_city.materials import Grid
from progeo_toy_city.plan import Item
from progeo_toy_city.rendering import Picture
from progeo_toy_city.scene import CELL, Placed, Scene
from progeo_toy_city.sprites import Sprite, lamp, person, post, tree

TURN = 2 * np.pi


@dataclass(frozen=True)
class _Window:
    """Columns ``first`` to ``last`` of the picture, in which a thing around column ``middle`` may be seen."""

    middle: float
    first: int
    last: int


def place_things(scene: Scene, drive: Drive, picture: Picture) -> None:
    """Draw all things near the camera into the picture."""
    frame = picture.frame
    things: list[Placed | Item] = [*drive.placed, *scene.plan.items, *drive.people]
    places = drive.places - (frame.x, frame.y)
    distances = np.hypot(places[:, 0], places[:, 1])
    middles = (np.arctan2(places[:, 0], places[:, 1]) - frame.first) % TURN * frame.density
    haze = 3 * drive.conditions.visibility
    for index in np.argsort(-distances, kind="stable").tolist():
        thing, distance = things[index], float(distances[index])
        nearest, farthest = drive.ranges[index]
        if not nearest < distance < min(farthest, haze):
            continue
        if isinstance(thing, Placed):
            reach = thing.solid.reach
            for window in _windows(picture, middles[index], reach / max(distance, reach) * 1.6, distance - reach):
                _draw_solid(scene, drive, picture, thing, distance, window)
        else:
            sprite = _sprite(thing, drive)
            for window in _windows(picture, middles[index], sprite.width / 2 / distance, distance):
                _draw_sprite(scene, drive, picture, thing, sprite, distance, window)


def _windows(picture: Picture, middle: float, angle: float, distance: float) -> list[_Window]:
    """Return where a thing that spans ``angle`` radians to each side shows: nowhere, once, or twice in a full round."""
    frame = picture.frame
    half, around = angle * frame.density, TURN * frame.density
    windows = []
    for centre in (middle - around, middle, middle + around):
        first, last = max(int(centre - half), 0), min(int(centre + half) + 1, frame.columns)
        if first < last and picture.depth[first:last].max() > distance:
            windows.append(_Window(centre, first, last))
    return windows


def _sprite(item: Item, drive: Drive) -> Sprite:
    conditions = drive.conditions
    if item.kind == "tree":
        return tree(item.variant % 12, conditions.season, conditions.snow > 0.3)
    if item.kind == "person":
        return person(item.variant % 60, conditions.weather == "rain", conditions.season != "summer")
    if item.kind == "lamp":
        return lamp(item.variant % 3)
    return post(item.kind, item.variant % 12)


def _light(scene: Scene, drive: Drive, x: float, y: float, height: float) -> Grid:
    """Return the light (3,) on something upright of the given height at (x, y), before haze."""
    conditions = drive.conditions
    side = drive.shadow.shape[0] - 1
    row, column = (min(max(int((value + MARGIN) / CELL), 0), side) for value in (y, x))
    if conditions.night:
        added = LAMPLIGHT * min(float(scene.lamplight[row, column]), 1.0)
    else:
        added = conditions.sun * 0.62 * min(max(height - float(drive.shadow[row, column]), 0.0), 1.0)
    light: Grid = conditions.ambient + added
    return light


def _draw_sprite(
    scene: Scene, drive: Drive, picture: Picture, item: Item, sprite: Sprite, distance: float, window: _Window
) -> None:
    frame, conditions = picture.frame, drive.conditions
    per_metre = frame.density / distance
    width, height = sprite.width * per_metre, sprite.height * per_metre
    bottom = (frame.top + frame.z / distance) * frame.density
    first_row, last_row = max(int(bottom - height), 0), min(int(bottom), frame.rows)
    if last_row <= first_row:
        return
    open_columns = np.flatnonzero(picture.depth[window.first : window.last] > distance)
    first, last = window.first + int(open_columns[0]), window.first + int(open_columns[-1]) + 1
    level = min(max(int(np.log2(max(sprite.levels[0].shape[0] / height, 1))), 0), len(sprite.levels) - 1)
    texels = sprite.levels[level]
    rows = ((np.arange(first_row, last_row) + (0.5 - bottom + height)) * (texels.shape[0] / height)).astype(np.int32)
    left = window.middle - width / 2
    columns = ((np.arange(first, last) + (0.5 - left)) * (texels.shape[1] / width)).astype(np.int32)
    rows, columns = rows.clip(0, texels.shape[0] - 1), columns.clip(0, texels.shape[1] - 1)
    clear = np.float32(np.exp(-distance / conditions.visibility))
    gain, veil = np.full(4, 128, np.uint16), np.zeros(4, np.uint16)
    gain[:3] = np.minimum(_light(scene, drive, item.x, item.y, 0.6 * sprite.height) * clear * 128, 255)
    veil[:3] = conditions.sky_low * (1 - clear)
    colours = texels.astype(np.uint16)
    colours *= gain
    colours >>= 7
    colours += veil
    if sprite.lamp is not None and conditions.night:
        heights = sprite.height * (1 - np.arange(len(texels)) / len(texels))
        colours[np.abs(heights - sprite.lamp) < 0.3, :, :3] += np.array([230, 200, 150], np.uint16)
    shaded = np.minimum(colours, 255, out=colours).astype(np.uint8)
    packed = shaded.view(np.uint32)[:, :, 0]
    patch = packed.ravel().take(rows[:, None] * np.int32(packed.shape[1]) + columns)
    # The panorama has more pixels than the views cut from it, so that a texel may simply be there or not.
    drawn = patch >= np.uint32(0x80000000)
    if len(open_columns) < last - first:
        drawn &= picture.depth[first:last] > distance
    hedge = picture.low_depth[first:last] < distance
    if hedge.any():
        drawn &= ~(hedge & (np.arange(first_row, last_row)[:, None] >= picture.low_row[first:last]))
    area = picture.canvas.view(np.uint32)[first_row:last_row, first:last, 0]
    np.copyto(area, patch, where=drawn)
    if sprite.lamp is not None and conditions.night:
        _halo(picture, window.middle, bottom - sprite.lamp * per_metre, min(1.5 * per_metre, 80.0))


def _halo(picture: Picture, column: float, row: float, radius: float) -> None:
    """Add a round glow of ``radius`` pixels."""
    top, bottom = max(int(row - radius), 0), min(int(row + radius) + 1, picture.frame.rows)
    left, right = max(int(column - radius), 0), min(int(column + radius) + 1, picture.frame.columns)
    if bottom <= top or right <= left:
        return
    away = np.hypot(np.arange(top, bottom)[:, None] - row, np.arange(left, right)[None, :] - column) / radius
    glow = np.clip(1 - away, 0, 1)[:, :, None] ** 2.5 * np.array([255, 214, 150])
    area = picture.canvas[top:bottom, left:right, :3]
    area[:] = np.minimum(area + glow, 255)


def _draw_solid(scene: Scene, drive: Drive, picture: Picture, placed: Placed, distance: float, window: _Window) -> None:
    frame, solid = picture.frame, placed.solid
    turn = np.radians(placed.heading)
    axes = np.array([[np.sin(turn), np.cos(turn), 0], [-np.cos(turn), np.sin(turn), 0], [0, 0, 1.0]])
    points = solid.corners @ axes + (placed.x - frame.x, placed.y - frame.y, -frame.z)
    normals = solid.normals @ axes
    away = np.hypot(points[:, 0], points[:, 1])
    firsts = solid.starts[:-1]
    facing = (normals * points[firsts]).sum(axis=1) < 0
    # Near faces cover far ones; layers above the first lie on the surface of the thing and come last.
    key = np.add.reduceat(away, firsts) / np.diff(solid.starts) - 1000 * solid.layers
    order = [face for face in np.argsort(-key, kind="stable").tolist() if facing[face]]
    corners = np.stack(_project(picture, points, away, window), axis=1)
    left, right = max(int(corners[:, 0].min()) - 1, 0), min(int(corners[:, 0].max()) + 2, frame.columns)
    top, bottom = max(int(corners[:, 1].min()) - 1, 0), min(int(corners[:, 1].max()) + 2, frame.rows)
    if right <= left or bottom <= top:
        return
    nearest = float(away.min()) - 0.3
    drawable = picture.depth[left:right] > nearest
    if not drawable.any():
        return
    if solid.shadow[0] and distance < 40:
        _darken_ground(picture, placed, axes, nearest, window)
    colours = _face_colours(scene, drive, placed, normals, distance)
    patch = Image.new("RGBA", (right - left, bottom - top))
    pen = ImageDraw.Draw(patch)
    corners -= (left, top)
    for face in order:
        pen.polygon(corners[solid.starts[face] : solid.starts[face + 1]].ravel().tolist(), fill=colours[face])
    pixels = np.asarray(patch)
    drawn = (pixels[:, :, 3] > 0) & drawable
    hedge = picture.low_depth[left:right] < nearest
    if hedge.any():
        drawn &= ~(hedge & (np.arange(top, bottom)[:, None] >= picture.low_row[left:right]))
    area = picture.canvas.view(np.uint32)[top:bottom, left:right, 0]
    np.copyto(area, pixels.view(np.uint32)[:, :, 0], where=drawn)


def _project(
    picture: Picture, points: NDArray[np.float64], away: NDArray[np.float64], window: _Window
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return columns and rows of points given relative to the camera, near the middle of the window."""
    frame = picture.frame
    centre = window.middle / frame.density
    turned = np.arctan2(points[:, 0], points[:, 1]) - frame.first - centre
    columns = (centre + (turned + np.pi) % TURN - np.pi) * frame.density
    rows = (frame.top - points[:, 2] / np.maximum(away, 0.1)) * frame.density
    return columns, rows


def _darken_ground(
    picture: Picture, placed: Placed, axes: NDArray[np.float64], nearest: float, window: _Window
) -> None:
    """Darken the ground beneath a thing, or it would seem to float."""
    frame = picture.frame
    length, width = placed.solid.shadow
    edge = np.linspace(-1, 1, 9)
    outline = np.concatenate(
        [[(s, -1) for s in edge], [(1, s) for s in edge], [(-s, 1) for s in edge], [(-1, -s) for s in edge]]
    )
    flat = np.zeros((len(outline), 3))
    flat[:, :2] = outline * (length / 2 + 0.12, width / 2 + 0.15)
    points = flat @ axes + (placed.x - frame.x, placed.y - frame.y, -frame.z)
    corners = np.stack(_project(picture, points, np.hypot(points[:, 0], points[:, 1]), window), axis=1)
    left, right = max(int(corners[:, 0].min()), 0), min(int(corners[:, 0].max()) + 1, frame.columns)
    top, bottom = max(int(corners[:, 1].min()), 0), min(int(corners[:, 1].max()) + 1, frame.rows)
    if right <= left or bottom <= top:
        return
    mask = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(mask).polygon((corners - (left, top)).ravel().tolist(), fill=255)
    dark = (np.asarray(mask) > 0) & (picture.depth[left:right] > nearest)
    area = picture.canvas.view(np.uint32)[top:bottom, left:right, 0]
    # Half the light, byte by byte without unpacking.
    np.copyto(area, (area & np.uint32(0xFEFEFEFE)) >> np.uint32(1), where=dark)


def _face_colours(
    scene: Scene, drive: Drive, placed: Placed, normals: NDArray[np.float64], distance: float
) -> list[tuple[int, ...]]:
    """Return the colour of each face in the light where the thing stands."""
    conditions, solid = drive.conditions, placed.solid
    sunny = (_light(scene, drive, placed.x, placed.y, 1.2) - conditions.ambient) * 1.5
    if conditions.night:
        toward = np.maximum(normals[:, 2:], 0) * 0.6 + 0.45
    else:
        toward = np.maximum(normals @ np.array(drive.sun), 0)[:, None]
    sky = (0.78 + 0.22 * normals[:, 2:]) * conditions.ambient
    colours = solid.colours * (sky + toward * sunny)
    if conditions.night:
        colours += solid.glow * 0.8
    clear = np.exp(-distance / conditions.visibility)
    opaque = np.full((len(colours), 4), 255)
    opaque[:, :3] = np.clip(colours * clear + conditions.sky_low * (1 - clear), 0, 255)
    return [tuple(colour) for colour in opaque.tolist()]
