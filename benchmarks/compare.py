"""Today's figures beside the recorded ones, as ratios to fixed work, so that two machines can be compared.

    python -m benchmarks.compare [--record] [--repeats 5]

A figure of the network counts in matrix products (1024 x 1024), one of photos and tables in JPEG decodings; each is
measured beside its fixed work, in turn. ``--record`` keeps today's in ``benchmarks/recorded.json``.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.grouping import make_file_names
from benchmarks.tables import format_table
from progeo.data.file_names import parse_file_names
from progeo.models.building import create_model
from progeo.models.encoder import Encoder
from progeo.models.engines.graphs import find_runtime
from progeo.pixels.recipe import Preprocessing, read_pixels
from progeo.search.exact import search_chunks
from progeo.training.groups import make_groups

RECORDED = Path(__file__).with_name("recorded.json")
Work = Callable[[], object]


def make_jobs(scale: int = 1) -> tuple[dict[str, Work], dict[str, tuple[str, Work]]]:
    """Return the fixed work by name, and each job with the name of the work it is compared with.

    Args:
        scale: divides the sizes of the jobs.
    """
    generator = np.random.default_rng(0)
    matrix = generator.random((1024, 1024), dtype=np.float32)
    photo = io.BytesIO()
    noise = generator.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((4000 // scale, 3000 // scale)).save(photo, "JPEG")
    fixed: dict[str, Work] = {
        "matrix product": lambda: matrix @ matrix,
        "JPEG decoding": lambda: np.asarray(Image.open(io.BytesIO(photo.getvalue()))),
    }
    network = create_model("ResNet18", descriptor_dim=64, weights="none").eval()
    pixels = generator.integers(0, 256, (2, 480 // scale, 640 // scale, 3), dtype=np.uint8)
    engines = ["torch", *([runtime] if (runtime := find_runtime()) else [])]
    encoders = {engine: Encoder.create(network, engine=engine) for engine in engines}
    names = make_file_names(100_000 // scale)
    table = parse_file_names(names)
    database = generator.random((50_000 // scale, 512), dtype=np.float32)
    queries = generator.random((100, 512), dtype=np.float32)
    jobs: dict[str, tuple[str, Work]] = {
        f"ResNet18, 2 photos of 640 x 480, {engine}": (
            "matrix product",
            lambda encoder=encoder: encoder.engine.describe(pixels, encoder.preprocessing),  # type: ignore[misc]
        )
        for engine, encoder in encoders.items()
    }
    jobs |= {
        "search among 50,000": ("matrix product", lambda: search_chunks([database], queries, 20)),
        "reading a photo of 12 megapixels": (
            "JPEG decoding",
            lambda: read_pixels(photo.getvalue(), Preprocessing(512)),
        ),
        "columns of 100,000 names": ("JPEG decoding", lambda: parse_file_names(names)),
        "groups of 100,000 names": ("JPEG decoding", lambda: make_groups(table, groups_num=10)),
    }
    return fixed, jobs


def measure(fixed: dict[str, Work], jobs: dict[str, tuple[str, Work]], repeats: int) -> dict[str, list[float]]:
    """Return, for each job, its time as a multiple of its fixed work, pair by pair."""
    ratios: dict[str, list[float]] = {}
    for name, (against, work) in jobs.items():
        pair = fixed[against], work
        for one in pair:
            one()
        ratios[name] = [time_once(pair[1]) / time_once(pair[0]) for _ in range(repeats)]
    return ratios


def time_once(work: Work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="keep today's figures")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    ratios = measure(*make_jobs(), arguments.repeats)
    recorded = json.loads(RECORDED.read_text(encoding="utf-8")) if RECORDED.is_file() else {}
    rows = []
    for name, values in ratios.items():
        today, before = statistics.median(values), recorded.get(name)
        change = "" if before is None else f"{today / before:.2f}"
        rows.append([name, f"{today:.2f} ({min(values):.2f})", "" if before is None else f"{before:.2f}", change])
    print(format_table(["times its fixed work", "today: median (least)", "recorded", "today / recorded"], rows))
    if arguments.record:
        medians = {name: statistics.median(values) for name, values in ratios.items()}
        RECORDED.write_text(json.dumps(medians, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
