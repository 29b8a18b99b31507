"""The sky: colours from the horizon up, clouds, and the glare about the sun."""

from __future__ import annotations

import numpy as np

from progeo_toy_city.conditions import Conditions
from progeo_toy_city.materials import Grid, Pixels, cloud_noise

COLUMNS, ROWS = 720, 160  # half a degree each way round; rows at equal slopes
TOP = 1.6  # slope (height per distance) of the uppermost row
SEAM = 60


def draw_sky(conditions: Conditions, sun: tuple[float, float, float], rng: np.random.Generator) -> Pixels:
    """Paint the sky all round: ``(ROWS, COLUMNS, 3)``, ``TOP`` down to the horizon, clockwise from the plan's y axis.

    ``sun`` is the unit vector towards the sun in the plan's axes.
    """
    slopes = np.linspace(TOP, 0, ROWS)[:, None]
    angles = np.radians(np.arange(COLUMNS) * (360 / COLUMNS))[None, :]
    up, flat = slopes / np.hypot(slopes, 1), 1 / np.hypot(slopes, 1)
    colours = conditions.sky_low + (conditions.sky_top - conditions.sky_low) * up[:, :, None] ** 0.6
    clouds = _all_round(cloud_noise(ROWS, COLUMNS + SEAM, COLUMNS * 0.16, rng, 5))[:, :, None]
    thickness = np.clip((clouds - (0.42 - 0.95 * conditions.cover)) * 2.2, 0, 1) * min(0.35 + conditions.cover, 0.95)
    # Clouds are brighter where there is less cloud above them.
    colours = colours + (conditions.cloud * (1 + 0.14 * np.roll(clouds, 6, axis=0)) - colours) * thickness
    if not conditions.night and conditions.cover < 0.9:
        facing = flat * (np.sin(angles) * sun[0] + np.cos(angles) * sun[1]) + up * sun[2]
        facing = np.clip(facing, 0, 1)[:, :, None]
        colours = colours + (np.array([255, 246, 226]) - colours) * (facing**40 * 0.8 + facing**6 * 0.25)
    pixels: Pixels = np.clip(colours, 0, 255).astype(np.uint8)
    return pixels


def _all_round(noise: Grid) -> Grid:
    """Blend the last ``SEAM`` columns into the first, so that the noise goes round without an edge."""
    share = np.linspace(0, 1, SEAM, dtype=np.float32)
    noise[:, :SEAM] = noise[:, :SEAM] * share + noise[:, -SEAM:] * (1 - share)
    return noise[:, :-SEAM]
