"""How fast a place database of one million photos opens and answers, and how well it agrees with exact search.

    python -m benchmarks.places [--photos 1000000] [--queries 200] [--folder FOLDER]

The descriptors have 512 dimensions and lie in clusters of ten, as photos of one place do: a cluster's centre is drawn
evenly from the sphere, its photos and its queries lie around it. Queries are no photos of the database. What is timed
runs in a process of its own, on one core and one thread. FAISS compares with all photos in float32, in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa

from benchmarks.tables import format_table, replace_section
from progeo.models.building import create_model
from progeo.models.encoder import Descriptors
from progeo.places import cells, storage
from progeo.places.database import PlaceDatabase

DIMENSION = 512
PHOTOS_PER_PLACE = 10
SPREAD = 0.7
"""Length of what is added to a centre of length 1: photos of a place are about as far from each other."""
BLOCK = 20_000
ONE_CORE = {"OMP_NUM_THREADS": "1", "LANCE_CPU_THREADS": "1", "TOKIO_WORKER_THREADS": "1"}


def draw_centres(photos: int) -> Descriptors:
    """Return the centre (P, D) of each place, float32 of length 1."""
    centres = np.random.default_rng(0).standard_normal((photos // PHOTOS_PER_PLACE, DIMENSION), dtype=np.float32)
    return normalise(centres)


def draw_around(centres: Descriptors, seed: int) -> Descriptors:
    """Return a descriptor (N, D) around each of the centres, float32 of length 1."""
    noise = np.random.default_rng([1, seed]).standard_normal(centres.shape, dtype=np.float32)
    return normalise(centres + np.float32(SPREAD / DIMENSION**0.5) * noise)


def normalise(vectors: Descriptors) -> Descriptors:
    """Return vectors (N, D) at length 1."""
    unit: Descriptors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def draw_blocks(photos: int) -> Iterator[tuple[int, Descriptors]]:
    """Yield the descriptors of the database block by block, in no order, each with the number of its first photo."""
    centres = draw_centres(photos)
    places = np.random.default_rng(2).permutation(photos) // PHOTOS_PER_PLACE
    for start in range(0, photos, BLOCK):
        yield start, draw_around(centres[places[start : start + BLOCK]], start)


def draw_queries(photos: int, queries: int) -> Descriptors:
    """Return descriptors (Q, D) of places of the database."""
    places = np.random.default_rng(3).integers(0, photos // PHOTOS_PER_PLACE, queries)
    return draw_around(draw_centres(photos)[places], photos)


def make_database(address: Path, photos: int) -> None:
    """Write the rows of the database and its index."""
    network = create_model("timm:test_resnet", descriptor_dim=DIMENSION, weights="none").eval()
    generator = np.random.default_rng(4)
    schema = storage.make_photos_schema(DIMENSION)

    def rows() -> Iterator[pa.RecordBatch]:
        for start, descriptors in draw_blocks(photos):
            count = len(descriptors)
            values = pa.array(descriptors.astype(np.float16).ravel())
            latitude, longitude = generator.uniform(45, 46, count), generator.uniform(9, 10, count)
            columns: dict[str, Any] = {
                "path": [f"/photos/{number:07d}.jpg" for number in range(start, start + count)],
                "id": [f"{number:032x}" for number in range(start, start + count)],
                "latitude": latitude,
                "longitude": longitude,
                cells.COLUMN: pa.array(map(cells.find_cell, latitude, longitude), pa.int32()),
                "heading": generator.uniform(0, 360, count),
                "descriptor": pa.FixedSizeListArray.from_arrays(values, DIMENSION),
            }
            missing = {name: pa.nulls(count, schema.field(name).type) for name in schema.names if name not in columns}
            yield pa.record_batch(columns | missing, pa.schema([schema.field(name) for name in columns | missing]))

    with PlaceDatabase.create(address, network) as database:
        batches = rows()
        first = next(batches)
        database._tables.photos.add(pa.RecordBatchReader.from_batches(first.schema, _chain(first, batches)))
        start = time.perf_counter()
        print(database.refresh_index(), f"(built and measured in {time.perf_counter() - start:.0f} s)", flush=True)


def _chain(first: pa.RecordBatch, others: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from others


def time_each(search: Callable[[Descriptors], list[int]], queries: Descriptors) -> dict[str, Any]:
    """Search for one query after the other; return the first hit of each, and its milliseconds on the clock and of the
    core's work, after three to warm up.
    """
    for query in queries[:3]:
        search(query[None])
    clock, core, hits = [], [], []
    for query in queries:
        start, worked = time.perf_counter(), time.process_time()
        hits += search(query[None])
        clock.append(1000 * (time.perf_counter() - start))
        core.append(1000 * (time.process_time() - worked))
    return {"clock": clock, "core": core, "hits": hits}


def measure_database(address: str, photos: int, queries: Descriptors) -> dict[str, Any]:
    """Open the database and search in it."""
    start = time.perf_counter()
    database = PlaceDatabase.open(address)
    count = len(database)
    opened = time.perf_counter() - start
    assert count == photos

    def search(descriptors: Descriptors) -> list[int]:
        return [int(table["id"][0], 16) for table in database.search(descriptors)]

    return {"opened": opened, **time_each(search, queries)}


def measure_faiss(address: str, photos: int, queries: Descriptors) -> dict[str, Any]:
    """Search exactly in the same descriptors in memory, as they are stored."""
    index = faiss.IndexFlatL2(DIMENSION)
    for _, descriptors in draw_blocks(photos):
        index.add(descriptors.astype(np.float16).astype(np.float32))

    def search(descriptors: Descriptors) -> list[int]:
        return [int(row) for row in index.search(descriptors, 20)[1][:, 0]]

    return {"opened": None, **time_each(search, queries)}


MEASURES = {"progeo": measure_database, "FAISS flat": measure_faiss}


def read_peak_memory() -> float:
    """Return the most memory in MB that this process has held; ``getrusage`` would count what its parent held too."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def run_on_one_core(name: str, address: Path, queries: Path, photos: int) -> dict[str, Any]:
    """Measure in a process of its own; return what it measured and its greatest memory in MB.

    It is bound to the core before it starts, so that all of its threads are.
    """
    command = [sys.executable, "-m", "benchmarks.places", "--measure", name, "--folder", str(address)]
    command += ["--photos", str(photos), "--queries_file", str(queries)]
    core = str(min(os.sched_getaffinity(0)))
    command = ["taskset", "--cpu-list", core, *command]
    output = subprocess.run(command, env=os.environ | ONE_CORE, stdout=subprocess.PIPE, text=True, check=True).stdout
    content: dict[str, Any] = json.loads(output)
    return content


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument(
        "--folder", type=Path, help="where to put the database, or one made before; else a temporary one"
    )
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    parser.add_argument("--queries_file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        faiss.omp_set_num_threads(1)
        queries = np.load(options.queries_file)
        before = read_peak_memory()
        result = MEASURES[options.measure](str(options.folder), options.photos, queries)
        print(json.dumps(result | {"memory": read_peak_memory(), "before": before}))
        return
    with tempfile.TemporaryDirectory() as folder:
        address = options.folder or Path(folder) / "places"
        if not PlaceDatabase.exists(address):
            make_database(address, options.photos)
        queries = Path(folder) / "queries.npy"
        np.save(queries, draw_queries(options.photos, options.queries))
        results = {name: run_on_one_core(name, address, queries, options.photos) for name in MEASURES}
    exact = results["FAISS flat"]["hits"]
    rows = []
    for name, result in results.items():
        clock, core = sorted(result["clock"]), sorted(result["core"])
        agreement = statistics.mean(hit == right for hit, right in zip(result["hits"], exact, strict=True))
        rows.append(
            [
                name,
                f"{result['opened']:.2f} s" if result["opened"] else "-",
                *(f"{statistics.median(times):.1f} ms" for times in (clock, core)),
                f"{core[int(0.95 * len(core))]:.1f} ms",
                f"{100 * agreement:.1f} %",
                f"{result['memory']:.0f} MB",
                f"{result['before']:.0f} MB",
            ]
        )
    header = [f"{options.photos:,} photos", "open", "query, median", "work of the core, median", "95 %"]
    header += ["same first hit as exact search", "memory", "of it before opening"]
    text = format_table(header, rows)
    print(text)
    if options.photos == parser.get_default("photos"):
        replace_section("places", text)


if __name__ == "__main__":
    main()
