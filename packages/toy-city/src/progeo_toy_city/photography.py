"""Takes the pictures of a shot: paints what is around, cuts the views, and exposes them like a camera would."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from progeo_toy_city.camera import Sensor, cut_view
from progeo_toy_city.composition import place_things
from progeo_toy_city.conditions import Conditions
from progeo_toy_city.drive import Drive
from progeo_toy_city.rendering import Frame, paint_town
from progeo_toy_city.scene import Scene
from progeo_toy_city.shots import Shot

OVERSAMPLING = 1.35  # pixels of the panorama for each pixel of a view
EDGE = 2  # pixels to spare around a view
SPARE = 256  # pixels by which banks of noise and drops are larger than a view, so that no two views have the same


def take(scene: Scene, drive: Drive, shot: Shot, rotation: float, size: int) -> list[Image.Image]:
    """Return the pictures of the shot, ``size`` by ``size`` pixels, in the order of its headings."""
    rng = np.random.default_rng(shot.seed)
    left, right, low, high = shot.lens.reach()
    density = OVERSAMPLING * size / 2 / np.tan(np.radians(shot.lens.field / 2))
    top = high + EDGE / density
    rows = int((top - low) * density) + EDGE
    around = len(shot.headings)
    if around > 1:
        # All the way round, with a whole number of columns from one heading to the next.
        step = round(2 * np.pi * density / around)
        density = step * around / (2 * np.pi)
        columns, spare = step * around, int(right * density) + EDGE
        first = np.radians(shot.headings[0] - rotation)
    else:
        step, spare = 0, int(-left * density) + EDGE
        columns = spare + int(right * density) + EDGE
        first = np.radians(shot.headings[0] - rotation) - spare / density
    picture = paint_town(scene, drive, Frame(shot.x, shot.y, shot.z, first, top, columns, rows, density), rng)
    place_things(scene, drive, picture)
    panorama = picture.canvas.view(np.uint32)[:, :, 0]
    if around > 1:
        # The ends are repeated so that every view is one piece.
        panorama = np.concatenate([panorama[:, -spare:], panorama, panorama[:, :spare]], axis=1)
    views = (cut_view(panorama, spare + step * tile, shot.lens, size, density, top) for tile in range(around))
    return [expose(view, drive.conditions, shot.sensor, rng) for view in views]


def expose(view: NDArray[np.uint8], conditions: Conditions, sensor: Sensor, rng: np.random.Generator) -> Image.Image:
    """Return the view as the sensor records it: its colours, its noise, and the drops or flakes before it."""
    height, width, _ = view.shape
    pixels = _window(_noise_bank(max(height, width) + SPARE), height, width, rng)
    pixels = pixels * np.int16(round(sensor.noise * (2.2 if conditions.night else 1.0) * 4))
    pixels >>= 6
    if conditions.weather in ("rain", "snow"):
        pixels += _window(_falling(conditions.weather, max(height, width) + SPARE), height, width, rng)
    # The camera goes half of the way to the exposure that would be right for a picture of this brightness.
    aim = 52 if conditions.night else 116
    gain = np.clip((aim / max(float(view[::8, ::8].mean()), 1.0)) ** 0.5, 0.75, 1.4)
    pivot = 0 if conditions.night else 118
    grey = ((view[:, :, 0].astype(np.uint16) + 2 * view[:, :, 1].astype(np.uint16) + view[:, :, 2]) >> 2).astype(
        np.uint8
    )
    ramp = np.arange(256)
    for channel, tone in enumerate(sensor.tone):
        values = (ramp * gain * tone - pivot) * sensor.contrast + pivot
        # Highlights are rolled off softly instead of being cut.
        values = np.where(values > 205, 205 + 50 * np.tanh((values - 205) / 70), values)
        table = np.clip(values, 0, 255)
        colour = (table * sensor.saturation).round().astype(np.int16).take(view[:, :, channel])
        pixels[:, :, channel] += colour
        pixels[:, :, channel] += (table * (1 - sensor.saturation)).round().astype(np.int16).take(grey)
    return Image.fromarray(np.clip(pixels, 0, 255, out=pixels).astype(np.uint8))


def _window(bank: NDArray[np.int16], height: int, width: int, rng: np.random.Generator) -> NDArray[np.int16]:
    """Return a part of ``bank`` from a place by lot."""
    row, column = rng.integers(0, SPARE, 2)
    return bank[row : row + height, column : column + width]


@lru_cache(maxsize=4)
def _falling(weather: str, side: int) -> NDArray[np.int16]:
    """Return the light ``(side, side, 1)`` of raindrops or snowflakes in the air before a camera."""
    rng = np.random.default_rng(11)
    image = Image.new("L", (side, side))
    pen = ImageDraw.Draw(image)
    unit = (side - SPARE) / 320
    for x, y, size in (rng.random((int(side * side / 220 / unit**2), 3)) * (side, side, 1)).tolist():
        if weather == "rain":
            pen.line((x, y, x + 1.5 * unit, y + (4 + 14 * size) * unit), fill=int(12 + 22 * size))
        else:
            radius = (0.4 + 1.5 * size**6) * unit
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=int(150 - 70 * size))
    return np.asarray(image).astype(np.int16)[:, :, None]


@lru_cache(maxsize=2)
def _noise_bank(side: int) -> NDArray[np.int16]:
    """Return noise of standard deviation 16."""
    noise = np.random.default_rng(5).standard_normal((side, side, 3), dtype=np.float32)
    return (noise * 16).clip(-80, 80).astype(np.int16)
