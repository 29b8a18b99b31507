"""Photos with points to compare, and a test set of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
PLACES = 16


def make_texture(seed: int, height: int = 120, width: int = 160) -> Pixels:
    """Blobs of several sizes, of which SIFT finds many."""
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width), 128.0)
    y, x = np.mgrid[:height, :width]
    for _ in range(80):
        size = rng.uniform(2, 6)
        distance = (y - rng.uniform(0, height)) ** 2 + (x - rng.uniform(0, width)) ** 2
        pixels += rng.uniform(-90, 90) * np.exp(-distance / (2 * size**2))
    return np.repeat(np.clip(pixels, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def write_set(folder: Path) -> Path:
    """Write a set of places 200 metres apart, one photo of each in the database and one, moved, among the queries."""
    for part, offset in (("database", 0), ("queries", 24)):
        (folder / part).mkdir(parents=True)
        for place in range(PLACES):
            east, latitude = 500_000 + 200 * place, 52.5 + 0.0018 * place
            name = f"@{east}@5800000@33@U@{latitude:.6f}@13.4@{part}{place}@@0@@@@@@.png"
            Image.fromarray(make_texture(place, 120, 184)[:, offset : offset + 160]).save(folder / part / name)
    return folder
