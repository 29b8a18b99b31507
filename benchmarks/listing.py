"""How long reading a list of millions of SF-XL names into the image table takes, and how much memory.

    python -m benchmarks.listing [--images 5600000] [--photos 100000]

The list stands beside an empty folder, as SF-XL ships one (only its first photo is there). Each reading is a process
of its own, so that its peak memory is its own: the first reads the list, the second the table that the first kept.
The same of a folder of photos with EXIF data, whose files are asked each time whether they have changed; with what
taking the table of a folder with SF-XL names takes, which asks its directories alone.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import ExifTags, Image

from benchmarks.grouping import make_file_names
from benchmarks.tables import write_table
from progeo.data.table import read_photos


def write_list(folder: Path, images: int) -> None:
    """Write the list of a folder ``database`` below ``folder``."""
    names = make_file_names(images)
    (folder / "database").mkdir()
    (folder / "database" / str(names.min())).touch()
    (folder / "database_images_paths.txt").write_text("\n".join(names) + "\n", encoding="utf-8")


def write_photos(folder: Path, photos: int) -> None:
    """Write so many tiny photos: with EXIF data to ``photos`` below ``folder``, and empty ones to ``named``."""
    content = io.BytesIO()
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (59.0, 19.0, 45.0), 3: "E", 4: (18.0, 4.0, 7.0)})
    Image.new("RGB", (8, 6)).save(content, "JPEG", exif=exif)
    for place in ("named", *(f"photos/{number}" for number in range(100))):
        (folder / place).mkdir(parents=True)
    for number, name in enumerate(make_file_names(photos)):
        (folder / "named" / name).touch()
        (folder / "photos" / str(number % 100) / f"{number}.jpg").write_bytes(content.getvalue())


def measure(folder: Path) -> tuple[float, float]:
    """Read the table in this process; return the seconds and the peak memory of the process in gigabytes."""
    start = time.perf_counter()
    read_photos(folder, folder.parent / "cache")
    return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5_600_000)
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--folder", help="read this folder and print the figures, instead of all")
    options = parser.parse_args()
    if options.folder:
        print(json.dumps(measure(Path(options.folder))))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_list(Path(folder), options.images)
        write_photos(Path(folder), options.photos)
        for count, of, place in (
            (options.images, "names in a list", "database"),
            (options.photos, "names in a folder", "named"),
            (options.photos, "photos with EXIF data", "photos"),
        ):
            for what in ("reading", "the kept table of"):
                command = [sys.executable, "-m", "benchmarks.listing", "--folder", str(Path(folder, place))]
                seconds, gigabytes = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
                rows.append([f"{what} {count:,} {of}", f"{seconds:.1f} s", f"{gigabytes:.2f} GB"])
    write_table("listing", ["", "time", "peak memory"], rows)


if __name__ == "__main__":
    main()
