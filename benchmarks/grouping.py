"""How long reading file names and making CosPlace groups takes.

    python -m benchmarks.grouping [--images 1000000] [--repeats 5]

The images are spread so that a class holds about twenty of them, as in SF-XL, in random order. For comparison the
same cells are counted by a plain Python loop over the images, which is how the published code works.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import polars as pl

from benchmarks.tables import write_table
from progeo.data.file_names import parse_file_names
from progeo.training.groups import make_groups


def make_file_names(count: int) -> pl.Series:
    """Return SF-XL file names of ``count`` photos, about twenty in each cell of 10 m x 10 m x 30 degrees."""
    generator = np.random.default_rng(0)
    side = 10 * (count / (20 * 12)) ** 0.5
    east, north = generator.uniform(0, side, (2, count)) + np.array([[540000], [4170000]])
    heading = generator.uniform(0, 360, count)
    return pl.Series(
        "path",
        [
            f"@{e:010.2f}@{n:010.2f}@10@S@037.75@-122.42@pano{k}@@{h:.2f}@@@@201311@@.jpg"
            for k, (e, n, h) in enumerate(zip(east, north, heading, strict=True))
        ],
    )


def group_in_a_loop(table: pl.DataFrame) -> int:
    """Count the classes image by image; return how many have at least ten images."""
    images: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    rows = zip(table["utm_east"].to_list(), table["utm_north"].to_list(), table["heading"].to_list(), strict=True)
    for row, (east, north, heading) in enumerate(rows):
        images[int(east // 10 * 10), int(north // 10 * 10), int(heading // 30 * 30)].append(row)
    return sum(len(rows_of_class) >= 10 for rows_of_class in images.values())


def time_repeatedly(function: Callable[[], object], repeats: int) -> list[float]:
    """Return the seconds of each repeat, after one that warms up."""
    function()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    names = make_file_names(options.images)
    table = parse_file_names(names)
    jobs: dict[str, Callable[[], object]] = {
        "reading the columns out of the file names": lambda: parse_file_names(names),
        "classes and groups (`make_groups`)": lambda: make_groups(table, groups_num=50),
        "the same classes in a Python loop": lambda: group_in_a_loop(table),
    }
    rows = []
    for name, job in jobs.items():
        seconds = time_repeatedly(job, options.repeats)
        rows.append([name, f"{statistics.median(seconds):.2f} s", f"{min(seconds):.2f} to {max(seconds):.2f} s"])
    write_table("grouping", [f"{options.images:,} images", "median", "range"], rows)


if __name__ == "__main__":
    main()
