"""How long reading a list of millions of SF-XL names into the image table takes, and how much memory.

    python -m benchmarks.listing [--images 5600000]

The list stands beside an empty folder, as SF-XL ships one (only its first photo is there). Each reading is a process
of its own, so that its peak memory is its own: the first reads the list, the second the table that the first kept.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.grouping import make_file_names
from benchmarks.tables import write_table
from progeo.data.table import read_image_table


def write_list(folder: Path, images: int) -> None:
    """Write the list of a folder ``database`` below ``folder``."""
    names = make_file_names(images)
    (folder / "database").mkdir()
    (folder / "database" / str(names.min())).touch()
    (folder / "database_images_paths.txt").write_text("\n".join(names) + "\n", encoding="utf-8")


def measure(folder: Path) -> tuple[float, float]:
    """Read the table in this process; return the seconds and the peak memory of the process in gigabytes."""
    start = time.perf_counter()
    read_image_table(folder / "database", folder / "cache")
    return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5_600_000)
    parser.add_argument("--folder", help="read the list in this folder and print the figures, instead of all")
    options = parser.parse_args()
    if options.folder:
        print(json.dumps(measure(Path(options.folder))))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_list(Path(folder), options.images)
        for what in ("reading the list", "reading the table kept of it"):
            command = [sys.executable, "-m", "benchmarks.listing", "--folder", folder]
            seconds, gigabytes = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            rows.append([what, f"{seconds:.1f} s", f"{gigabytes:.2f} GB"])
    write_table("listing", [f"{options.images:,} images", "time", "peak memory"], rows)


if __name__ == "__main__":
    main()
