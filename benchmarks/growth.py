"""How large the folder of a place database becomes by additions of one photo at a time, in times of what it holds.

    python -m benchmarks.growth [--additions 3000]

Each photo is a row of 512 dimensions and a thumbnail of 17 kB, stored as ``progeo index`` stores it. Every hundred
additions the folder without the model is compared with the bytes of descriptors and thumbnails.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tables import format_table
from progeo.models.building import create_model
from progeo.places import tidying
from progeo.places.database import PlaceDatabase

DIMENSION = 512
THUMBNAIL = 17_000
EVERY = 100


def make_row(number: int, generator: np.random.Generator) -> dict[str, Any]:
    """Return a photo as it is stored."""
    return {
        **{"path": f"/photos/{number:08d}.jpg", "id": f"{number:032x}", "content_hash": f"{number:064x}"},
        **{"latitude": 45.0, "longitude": 9.0, "thumbnail": generator.bytes(THUMBNAIL)},
        "descriptor": generator.standard_normal(DIMENSION).astype(np.float16),
    }


def measure(folder: Path, settings: Any) -> int:
    """Return the bytes of a database without its settings, which hold the model."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return size - tidying.measure_folder(settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--additions", type=int, default=3000)
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    network = create_model("timm:test_resnet", descriptor_dim=DIMENSION, weights="none").eval()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        database = PlaceDatabase.create(Path(folder) / "places", network)
        target, settings = database._tables.target, database._tables.settings
        start = time.perf_counter()
        for number in range(options.additions):
            target.commit([make_row(number, generator)])
            if (number + 1) % EVERY == 0:
                content = (number + 1) * (THUMBNAIL + 2 * DIMENSION)
                times = measure(Path(folder) / "places", settings) / content
                rows.append((times, number + 1, (time.perf_counter() - start) / EVERY))
                start = time.perf_counter()
                print(f"{number + 1:,}: {times:.2f} times, {1000 * rows[-1][2]:.0f} ms each", flush=True)
    header = ["additions of one photo", "folder, times what it holds: largest", "at the end", "an addition, last"]
    largest = max(rows)
    row = [f"{options.additions:,}", f"{largest[0]:.2f} (after {largest[1]:,})", f"{rows[-1][0]:.2f}"]
    print(format_table(header, [[*row, f"{1000 * rows[-1][2]:.0f} ms"]]))


if __name__ == "__main__":
    main()
