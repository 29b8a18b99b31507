"""What walls and roofs are made of: bricks, plaster, stone, boards, tiles, drawn as colour arrays."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Colour: TypeAlias = tuple[int, int, int]
Pixels: TypeAlias = NDArray[np.uint8]
Grid: TypeAlias = NDArray[np.float32]


def shade(colour: Colour, factor: float) -> Colour:
    """Return ``colour`` made darker (factor below 1) or lighter (above 1)."""
    red, green, blue = (round(min(max(channel * factor, 0), 255)) for channel in colour)
    return red, green, blue


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return the colour ``share`` of the way from ``first`` to ``second``."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def soft_noise(height: int, width: int, cell: float, rng: np.random.Generator) -> Grid:
    """Return smooth noise ``(height, width)`` in about [-1, 1] whose blots are some ``cell`` pixels wide."""
    rows, columns = int(height / cell) + 3, int(width / cell) + 3
    coarse = Image.fromarray(rng.uniform(-1.2, 1.2, (rows, columns)).astype(np.float32))
    box = (0.5, 0.5, 0.5 + width / cell, 0.5 + height / cell)
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC, box=box))


def cloud_noise(height: int, width: int, cell: float, rng: np.random.Generator, octaves: int = 4) -> Grid:
    """Return fractal noise ``(height, width)`` in about [-1, 1]: each octave half as large and half as strong."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        total += soft_noise(height, width, max(cell / 2**octave, 1.5), rng) * 0.5 ** (octave + 1)
    return total


def paint(colour: Colour, light: Grid) -> Pixels:
    """Return ``colour`` times the ``light`` (height, width) as an image (height, width, 3)."""
    pixels = light[:, :, None] * np.asarray(colour, np.float32)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def grain(height: int, width: int, strength: float, rng: np.random.Generator) -> Grid:
    """Return fine noise ``(height, width)`` around 0, the same 128-pixel tile over and over."""
    tile = rng.normal(0, strength, (128, 128)).astype(np.float32)
    return np.tile(tile, (height // 128 + 1, width // 128 + 1))[:height, :width]


def masonry(
    height: int,
    width: int,
    scale: float,
    rng: np.random.Generator,
    colours: list[Colour],
    stone: tuple[float, float],
    joint: Colour,
    joint_width: float,
    bond: float = 0.5,
) -> Pixels:
    """Return courses of bricks or blocks; ``stone`` is width and height of one in metres, ``scale`` pixels per metre.

    Each stone takes one of ``colours`` and a lightness of its own; ``bond`` is how far each course is shifted.
    """
    stone_width, stone_height = max(stone[0] * scale, 4), max(stone[1] * scale, 3)
    gap = max(round(joint_width * scale), 1)
    y, x = np.arange(height)[::-1], np.arange(width)
    course = (y / stone_height).astype(np.intp)
    courses = np.arange(course[0] + 1)
    shifted = x[None, :] + ((courses % 2) * bond * stone_width)[:, None]
    place = (shifted / stone_width).astype(np.intp)
    palette = np.asarray(colours, np.float32)
    shape = (len(courses), int(place.max()) + 1)
    kinds = palette[rng.integers(0, len(colours), shape)] * rng.uniform(0.86, 1.12, (*shape, 1)).astype(np.float32)
    # One line of texels is drawn for each course and then repeated over the height of its stones.
    lines = kinds[courses[:, None], place]
    lines[(shifted - place * stone_width) < gap] = joint
    pixels = lines[course]
    pixels[(y - (course * stone_height).astype(np.intp)) < gap] = joint
    pixels *= 1 + grain(height, width, 0.03, rng)[:, :, None]
    return np.clip(pixels, 0, 255, out=pixels).astype(np.uint8)


def brick(height: int, width: int, scale: float, rng: np.random.Generator, colour: Colour) -> Pixels:
    """Return brickwork around ``colour``."""
    colours = [colour, shade(colour, 0.88), shade(colour, 1.1), mix(colour, (90, 60, 60), 0.3)]
    joint = mix(shade(colour, 1.25), (190, 185, 175), 0.5)
    return masonry(height, width, scale, rng, colours, (0.34, 0.125), joint, 0.02)


def ashlar(height: int, width: int, scale: float, rng: np.random.Generator, colour: Colour) -> Pixels:
    """Return large cut stones around ``colour``."""
    colours = [colour, shade(colour, 0.95), shade(colour, 1.05), mix(colour, (170, 150, 120), 0.2)]
    return masonry(height, width, scale, rng, colours, (0.95, 0.42), shade(colour, 0.68), 0.025)


def rubble(height: int, width: int, scale: float, rng: np.random.Generator, colour: Colour) -> Pixels:
    """Return rough field stones around ``colour``."""
    colours = [shade(colour, 0.7), colour, shade(colour, 1.2), mix(colour, (120, 110, 100), 0.5)]
    return masonry(height, width, scale, rng, colours, (0.48, 0.27), shade(colour, 0.55), 0.035, bond=0.37)


def plaster(height: int, width: int, scale: float, rng: np.random.Generator, colour: Colour) -> Pixels:
    """Return painted plaster with faint blotches."""
    blotches = cloud_noise(height, width, 2.5 * scale, rng, 3) * 0.09
    return paint(colour, 1 + blotches + grain(height, width, 0.02, rng))


def boards(height: int, width: int, scale: float, rng: np.random.Generator, colour: Colour) -> Pixels:
    """Return overlapping horizontal wooden boards."""
    board = max(0.22 * scale, 4)
    y = np.arange(height)[::-1]
    course = (y / board).astype(np.int64)
    within = (y - course * board) / board
    light = rng.uniform(0.95, 1.04, int(course.max()) + 1)[course] * np.where(within < 0.2, 0.72, 0.94 + 0.1 * within)
    return paint(colour, light[:, None].astype(np.float32) + grain(height, width, 0.02, rng))


def panels(height: int, width: int, scale: float, rng: np.random.Generator, colour: Colour) -> Pixels:
    """Return large concrete or metal panels with open joints."""
    colours = [colour, shade(colour, 0.96), shade(colour, 1.04)]
    return masonry(height, width, scale, rng, colours, (1.6, 1.1), shade(colour, 0.6), 0.03, bond=0.0)


def tiles(height: int, width: int, scale: float, rng: np.random.Generator, colour: Colour) -> Pixels:
    """Return a tiled or slated roof seen from the street."""
    colours = [colour, shade(colour, 0.8), shade(colour, 1.15), shade(colour, 0.92)]
    return masonry(height, width, scale, rng, colours, (0.3, 0.22), shade(colour, 0.5), 0.03)


MATERIALS = {
    "brick": brick,
    "ashlar": ashlar,
    "rubble": rubble,
    "plaster": plaster,
    "boards": boards,
    "panels": panels,
    "tiles": tiles,
}
