"""Cameras: how they are held, what part of a panorama they see, and how they record it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Lens:
    """How a camera is held: pitch upwards, roll clockwise and the width of its view, all in degrees."""

    pitch: float
    roll: float
    field: float

    def aim(
        self, across: NDArray[np.float32], down: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return azimuth (radians, 0 ahead) and slope (height per distance) of points of the view (-1 to 1)."""
        half = np.tan(np.radians(self.field / 2))
        roll, pitch = np.radians(self.roll), np.radians(self.pitch)
        right = half * (across * np.cos(roll) - down * np.sin(roll))
        up = -half * (across * np.sin(roll) + down * np.cos(roll))
        ahead = np.cos(pitch) - up * np.sin(pitch)
        up = np.sin(pitch) + up * np.cos(pitch)
        return np.arctan2(right, ahead), up / np.hypot(right, ahead)

    def reach(self) -> tuple[float, float, float, float]:
        """Return the least and largest azimuth, and the least and largest slope, in the picture."""
        edge = np.linspace(-1, 1, 33, dtype=np.float32)
        azimuths, slopes = self.aim(*np.meshgrid(edge, edge))
        return float(azimuths.min()), float(azimuths.max()), float(slopes.min()), float(slopes.max())


@dataclass(frozen=True)
class Sensor:
    """What a camera makes of light: factors for red, green and blue, contrast and saturation (1 leaves them alone);

    noise in grey levels by day; and the quality of JPEG files.
    """

    tone: tuple[float, float, float]
    contrast: float
    saturation: float
    noise: float
    quality: int


def draw_sensor(rng: np.random.Generator) -> Sensor:
    """Draw by lot what kind of camera someone has: warm or cold, pale or vivid, dark or bright."""
    brightness, warmth, green = np.exp(rng.normal(0, 0.16)), rng.normal(0, 0.09), rng.normal(0, 0.03)
    return Sensor(
        tone=(float(brightness * (1 + warmth)), float(brightness * (1 + green)), float(brightness * (1 - warmth))),
        contrast=float(rng.uniform(0.78, 1.22)),
        saturation=float(rng.uniform(0.35, 1.2)),
        noise=float(rng.uniform(2, 6)),
        quality=int(rng.integers(78, 93)),
    )


@lru_cache(maxsize=4)
def _taps(lens: Lens, size: int, density: float, top: float, width: int) -> list[NDArray[np.int32]]:
    """Return four grids of offsets into a panorama ``width`` pixels wide, for four points in each pixel of a view."""
    grid = ((np.arange(2 * size) + 0.5) / size - 1).astype(np.float32)
    azimuths, slopes = lens.aim(*np.meshgrid(grid, grid))
    columns = np.floor(azimuths * density).astype(np.int32)
    rows = np.floor((top - slopes) * density).astype(np.int32)
    offsets = rows * np.int32(width) + columns
    return [np.ascontiguousarray(offsets[i::2, j::2]) for i in (0, 1) for j in (0, 1)]


def cut_view(
    panorama: NDArray[np.uint32], column: int, lens: Lens, size: int, density: float, top: float
) -> NDArray[np.uint8]:
    """Cut a view ``(size, size, 3)`` out of a panorama ``(rows, columns)`` of packed pixels.

    ``column`` is where the view looks; ``density`` and ``top`` the panorama's pixels per radian and uppermost slope.
    Each pixel is the mean of four points.
    """
    flat = panorama.ravel()
    first, second, third, fourth = (
        flat.take(taps + column) for taps in _taps(lens, size, density, top, panorama.shape[1])
    )
    mean = _mean(_mean(first, fourth), _mean(second, third))
    return mean.view(np.uint8).reshape(size, size, 4)[:, :, :3]


def _mean(first: NDArray[np.uint32], second: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the mean of pixels packed as four bytes, byte by byte, without unpacking them."""
    return (first & second) + (((first ^ second) & np.uint32(0xFEFEFEFE)) >> np.uint32(1))
