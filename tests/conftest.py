"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

# The same examples every time, however slow the machine is at the moment.
settings.register_profile("progeo", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("progeo")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def parity_dir() -> Path:
    """Folder of golden numbers of the published implementations (environment variable PROGEO_PARITY_DIR)."""
    folder = Path(os.environ.get("PROGEO_PARITY_DIR", REPOSITORY / ".." / "shared" / "parity"))
    if not folder.is_dir():
        reason = f"no parity fixtures in {folder}; set PROGEO_PARITY_DIR to their folder"
        if os.environ.get("CI"):
            pytest.fail(reason + " (they must be there in CI)")
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def tiny_city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train, val and test: eight places 10 m apart, each a pattern of its own, 48 x 40 pixels."""
    folder = tmp_path_factory.mktemp("tiny_city")
    generator = np.random.default_rng(0)
    for place in range(8):
        pattern = Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((48, 40), 0)
        photos = {"train": 4, "val/database": 1, "val/queries": 1, "test/database": 1, "test/queries": 1}
        for part, count in photos.items():
            (folder / part).mkdir(parents=True, exist_ok=True)
            for photo in range(count):
                noise = generator.integers(-20, 20, (40, 48, 3))
                pixels = (np.asarray(pattern) + noise).clip(0, 255).astype(np.uint8)
                name = f"@{500005 + 100 * (place // 4) + 10 * (place % 4)}.{photo}@4000005@31@S@@@p{photo}@@0@@@@@@.jpg"
                Image.fromarray(pixels).save(folder / part / name)
    return folder
