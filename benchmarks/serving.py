"""How fast the service answers, and that many clients at once each get their own answer.

    python -m benchmarks.serving --photos PHOTOS [--requests 60] [--clients 50]

PHOTOS is a folder of photos with positions, such as ``test/database`` of a toy city. ``progeo serve`` runs in a process
of its own, on a database of these photos; the photos are sent to it at 640 x 480 pixels. Latency is from sending one
photo to having its answer, warm, one request at a time. Then all clients send photos at once, each its own under a name
of its own: every answer must be the one that this photo got when it was alone.
"""

from __future__ import annotations

import argparse
import io
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from benchmarks.tables import format_table, replace_section
from progeo.data.positions import complete_positions
from progeo.data.table import read_photos
from progeo.models.building import create_model
from progeo.places.database import PlaceDatabase

BACKBONES = ("EfficientNet-Lite0", "LiteCLIP")
SIZE = (640, 480)
WARM_UPS = 5
MOST_PHOTOS = 200
PATIENCE = 120.0
Photo = tuple[str, bytes]


def make_database(backbone: str, photos: Path, folder: Path) -> Path:
    """Index the photos with a backbone as its weights are."""
    address = folder / backbone
    table = complete_positions(read_photos(photos, folder / "cache", one_plane=False).head(MOST_PHOTOS))
    with PlaceDatabase.create(address, create_model(backbone).eval(), show_progress=True) as database:
        database.add(table)
    return address


def read_files(folder: Path, count: int) -> list[Photo]:
    """Return photos as files of SIZE, each under a name of its own."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    photos = []
    for number in range(count):
        content = io.BytesIO()
        with Image.open(paths[number % len(paths)]) as image:
            image.convert("RGB").resize(SIZE).save(content, format="JPEG", quality=90)
        photos.append((f"{number}.jpg", content.getvalue()))
    return photos


@contextmanager
def serve(database: Path, clients: int) -> Iterator[httpx.Client]:
    """Run ``progeo serve`` and return a client of it."""
    limits = ["--max_waiting", str(2 * clients), "--max_seconds", str(PATIENCE)]
    command = [
        str(Path(sys.executable).with_name("progeo")),
        "serve",
        "--database",
        str(database),
        "--port",
        "0",
        *limits,
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        found = None
        while found is None:
            line = process.stderr.readline()
            if not line:
                raise SystemExit("progeo serve has ended")
            found = re.search(r"http://[\d.]+:\d+", line)
        try:
            with httpx.Client(base_url=found[0], timeout=PATIENCE, limits=httpx.Limits(max_connections=None)) as client:
                yield client
        finally:
            process.terminate()


def locate(client: httpx.Client, photo: Photo) -> tuple[float, dict[str, Any]]:
    """Send a photo; return the seconds it took and the answer."""
    start = time.perf_counter()
    answer = client.post("/api/locate", files={"photos": photo})
    answer.raise_for_status()
    return time.perf_counter() - start, answer.json()["photos"][0]


def is_same(answer: dict[str, Any], alone: dict[str, Any]) -> bool:
    """Whether two answers are of one photo: its name, and the photo of the database that looks most alike."""
    return (answer["name"], answer["matches"][0]["id"]) == (alone["name"], alone["matches"][0]["id"])


def measure(backbone: str, options: argparse.Namespace, folder: Path) -> list[str]:
    """Return the row of a backbone."""
    database = make_database(backbone, options.photos, folder)
    photos = read_files(options.photos, max(options.requests, options.clients))
    with serve(database, options.clients) as client:
        for photo in photos[:WARM_UPS]:
            locate(client, photo)
        singles = [locate(client, photo) for photo in photos]
        alone = {answer["name"]: answer for _, answer in singles}
        with ThreadPoolExecutor(options.clients) as threads:
            start = time.perf_counter()
            together = list(threads.map(lambda photo: locate(client, photo), photos[: options.clients]))
            seconds = time.perf_counter() - start
    right = sum(is_same(answer, alone[name]) for (name, _), (_, answer) in zip(photos, together, strict=False))
    times = [1000 * taken for taken, _ in singles]
    return [
        backbone,
        f"{statistics.median(times):.0f} ms",
        f"{statistics.quantiles(times, n=10)[-1]:.0f} ms",
        f"{right} of {options.clients} right",
        f"{seconds:.1f} s",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--clients", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(backbone, options, Path(folder)) for backbone in BACKBONES]
    header = [
        "one photo of 640 x 480",
        "median",
        "90th percentile",
        f"{options.clients} clients at once",
        "all answered in",
    ]
    text = format_table(header, rows)
    print(text)
    if options.requests == parser.get_default("requests"):
        replace_section("serving", text)


if __name__ == "__main__":
    main()
