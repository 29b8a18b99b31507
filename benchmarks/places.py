"""How fast a large place database is built, opens, answers and grows, and how well it agrees with exact search.

    python -m benchmarks.places [--photos 1000000] [--queries 200] [--folder FOLDER]

The descriptors have 512 dimensions and lie in clusters of ten, as photos of one place do: a cluster's centre is drawn
evenly from the sphere, its photos and its queries lie around it. Queries are no photos of the database. Each figure is
measured in a process of its own; those of queries on one core and one thread. Beside it stand two indices of FAISS, in
memory: IVF-PQ, with as many lists, probes and bytes a photo, and a comparison with all photos in float32, which is left
out where it takes more than half of the memory that is free.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.tables import format_table, replace_section
from progeo.locating.prior import Prior
from progeo.models.encoder import Descriptors
from progeo.places import approximate, cells, storage
from progeo.places.database import PlaceDatabase

DIMENSION = 512
PHOTOS_PER_PLACE = 10
SPREAD = 0.7
"""Length of what is added to a centre of length 1: photos of a place are about as far from each other."""
BLOCK = 20_000
"""Photos that are drawn, and stored, after each other: of 2,000 places, in no order."""
PLACES_PER_BLOCK = BLOCK // PHOTOS_PER_PLACE
WITHIN = 500.0
"""Metres, of the prior."""
ADDED = 1_000
TRAINED_ON = 64
"""Photos for each list of FAISS."""
ONE_CORE = {"OMP_NUM_THREADS": "1", "LANCE_CPU_THREADS": "1", "TOKIO_WORKER_THREADS": "1"}
SECTIONS = {1_000_000: "places", 10_000_000: "places of ten million"}


@dataclass(frozen=True)
class Places:
    """The places of a block: centres (P, D) of length 1, and positions (P,) in degrees."""

    centres: Descriptors
    latitudes: NDArray[np.float64]
    longitudes: NDArray[np.float64]


def draw_places(block: int) -> Places:
    """Return the places of a block."""
    generator = np.random.default_rng([0, block])
    centres = normalise(generator.standard_normal((PLACES_PER_BLOCK, DIMENSION), dtype=np.float32))
    latitudes, longitudes = generator.uniform((45, 9), (46, 10), (PLACES_PER_BLOCK, 2)).T
    return Places(centres, latitudes, longitudes)


def draw_around(centres: Descriptors, *seed: int) -> Descriptors:
    """Return a descriptor (N, D) around each of the centres, float32 of length 1."""
    noise = np.random.default_rng([1, *seed]).standard_normal(centres.shape, dtype=np.float32)
    return normalise(centres + np.float32(SPREAD / DIMENSION**0.5) * noise)


def normalise(vectors: Descriptors) -> Descriptors:
    """Return vectors (N, D) at length 1."""
    unit: Descriptors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def draw_photos(block: int, places: Places) -> tuple[NDArray[np.int64], Descriptors]:
    """Return the place of each photo of a block, and its descriptor, float16 as it is stored."""
    numbers = np.random.default_rng([2, block]).permutation(BLOCK) // PHOTOS_PER_PLACE
    return numbers, draw_around(places.centres[numbers], block).astype(np.float16)


def draw_blocks(photos: int) -> Iterator[tuple[int, Descriptors]]:
    """Yield the descriptors of the database in float32, block by block, each with the number of its first photo."""
    for block in range(photos // BLOCK):
        yield block * BLOCK, draw_photos(block, draw_places(block))[1].astype(np.float32)


def draw_queries(photos: int, queries: int) -> tuple[Descriptors, list[tuple[float, float]]]:
    """Return descriptors (Q, D) of places of the database, and where these are."""
    chosen = np.random.default_rng(3).integers(0, photos // PHOTOS_PER_PLACE, queries)
    centres, positions = [], []
    for number in chosen:
        places, place = draw_places(number // PLACES_PER_BLOCK), number % PLACES_PER_BLOCK
        centres.append(places.centres[place].copy())  # a view would keep the block
        positions.append((float(places.latitudes[place]), float(places.longitudes[place])))
    return draw_around(np.stack(centres), photos, 0), positions


def make_batches(photos: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the database; a photo lies within 11 metres of its place."""
    schema = storage.make_photos_schema(DIMENSION)
    for block in range(photos // BLOCK):
        places = draw_places(block)
        numbers, descriptors = draw_photos(block, places)
        generator, first = np.random.default_rng([4, block]), block * BLOCK
        latitude = places.latitudes[numbers] + generator.uniform(0, 1e-4, BLOCK)
        longitude = places.longitudes[numbers] + generator.uniform(0, 1e-4, BLOCK)
        columns: dict[str, Any] = {
            "path": [f"/photos/{number:08d}.jpg" for number in range(first, first + BLOCK)],
            "id": [f"{number:032x}" for number in range(first, first + BLOCK)],
            "latitude": latitude,
            "longitude": longitude,
            cells.COLUMN: pa.array(map(cells.find_cell, latitude, longitude), pa.int32()),
            "heading": generator.uniform(0, 360, BLOCK),
            "descriptor": pa.FixedSizeListArray.from_arrays(pa.array(descriptors.ravel()), DIMENSION),
        }
        missing = {name: pa.nulls(BLOCK, schema.field(name).type) for name in schema.names if name not in columns}
        yield pa.record_batch(columns | missing, pa.schema([schema.field(name) for name in columns | missing]))


def build(address: str, photos: int, queries: Path) -> dict[str, Any]:
    """Write the rows of the database, then its index."""
    from progeo.models.building import create_model

    network = create_model("timm:test_resnet", descriptor_dim=DIMENSION, weights="none").eval()
    network.set_image_size(32)
    with PlaceDatabase.create(address, network) as database:
        start = time.perf_counter()
        batches = make_batches(photos)
        first = next(batches)
        database._tables.photos.add(pa.RecordBatchReader.from_batches(first.schema, _chain(first, batches)))
        written, before = time.perf_counter(), read_peak_memory()
        remark = database.refresh_index()
        size = sum(path.stat().st_size for path in Path(address).rglob("*") if path.is_file())
        done = time.perf_counter()
    return {"writing": written - start, "indexing": done - written, "said": remark, "size": size, "written": before}


def _chain(first: pa.RecordBatch, others: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from others


def time_each(search: Callable[[Descriptors, tuple[float, float]], int], queries: Path) -> dict[str, Any]:
    """Search for one query after the other; return the first hit of each, and its milliseconds on the clock and of the
    core's work, after three to warm up.
    """
    content = np.load(queries)
    pairs = [(query[None], tuple(near)) for query, near in zip(content["queries"], content["near"], strict=True)]
    for pair in pairs[:3]:
        search(*pair)
    clock, core, hits = [], [], []
    for pair in pairs:
        start, worked = time.perf_counter(), time.process_time()
        hits.append(search(*pair))
        clock.append(1000 * (time.perf_counter() - start))
        core.append(1000 * (time.process_time() - worked))
    return {"clock": clock, "core": core, "hits": hits}


def search_database(address: str, photos: int, queries: Path, within: float | None = None) -> dict[str, Any]:
    """Open the database and search in it, near the place of each query where that is asked for."""
    start = time.perf_counter()
    database = PlaceDatabase.open(address)
    count = len(database)
    opened = time.perf_counter() - start
    assert count == photos

    def search(descriptors: Descriptors, near: tuple[float, float]) -> int:
        prior = Prior(near=near, within=within) if within else None
        return int(database.search(descriptors, prior=prior)[0]["id"][0], 16)

    return {"opened": opened, **time_each(search, queries)}


def search_near(address: str, photos: int, queries: Path) -> dict[str, Any]:
    """Search in the database within 500 metres of each query's place."""
    return search_database(address, photos, queries, WITHIN)


def search_lists(address: str, photos: int, queries: Path) -> dict[str, Any]:
    """Search in an IVF-PQ index of FAISS, with bytes, lists and probes as ours."""
    import faiss

    start = time.perf_counter()
    lists = approximate.count_partitions(photos)
    index = faiss.index_factory(DIMENSION, f"IVF{lists},PQ{DIMENSION // 8}")
    blocks = -(-min(TRAINED_ON * lists, photos) // BLOCK)
    index.train(np.concatenate([descriptors for _, descriptors in draw_blocks(blocks * BLOCK)]))
    for _, descriptors in draw_blocks(photos):
        index.add(descriptors)
    built = time.perf_counter() - start
    faiss.omp_set_num_threads(1)
    faiss.extract_index_ivf(index).nprobe = approximate.count_probes(photos)
    found = time_each(lambda descriptors, _: int(index.search(descriptors, 20)[1][0, 0]), queries)
    return {"opened": None, "built": built, **found}


def search_flat(address: str, photos: int, queries: Path) -> dict[str, Any]:
    """Search exactly in the same descriptors in memory, as they are stored."""
    import faiss

    index = faiss.IndexFlatL2(DIMENSION)
    for _, descriptors in draw_blocks(photos):
        index.add(descriptors)
    faiss.omp_set_num_threads(1)
    found = time_each(lambda descriptors, _: int(index.search(descriptors, 20)[1][0, 0]), queries)
    return {"opened": None, **found}


def find_exactly(address: str, photos: int, queries: Path) -> dict[str, Any]:
    """Compare all queries with all photos, block by block, so that it needs no memory to speak of."""
    content = np.load(queries)["queries"]
    smallest, hits = np.full(len(content), np.inf), np.zeros(len(content), int)
    for start, descriptors in draw_blocks(photos):
        distances = (descriptors**2).sum(axis=1) - 2 * content @ descriptors.T
        best = distances.argmin(axis=1)
        found = distances[np.arange(len(content)), best]
        hits[found < smallest] = (start + best)[found < smallest]
        smallest = np.minimum(smallest, found)
    return {"hits": hits.tolist()}


def add(address: str, photos: int, queries: Path) -> dict[str, Any]:
    """Add 1,000 photos, and take them out again."""
    from PIL import Image

    generator = np.random.default_rng(5)
    with tempfile.TemporaryDirectory() as folder, PlaceDatabase.open(address) as database:
        for number in range(ADDED):
            pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(Path(folder) / f"@{500000 + number}@5000000@32@T@@@{number}@@@@@@@@.jpg")
        encoder = database.encoder
        start = time.perf_counter()
        encoder.encode([str(path) for path in Path(folder).iterdir()])
        encoding = time.perf_counter() - start
        before, start = read_peak_memory(), time.perf_counter()
        report = database.add(folder)
        adding = time.perf_counter() - start
        assert report.added == ADDED, report
        start = time.perf_counter()
        database.refresh_index()
        refreshing, peak = time.perf_counter() - start, read_peak_memory()
        database.remove(str(path) for path in Path(folder).iterdir())
    return {"encoding": encoding, "adding": adding, "refreshing": refreshing, "grew": peak - before}


MEASURES = {
    "build": build,
    "exact": find_exactly,
    "progeo": search_database,
    f"progeo, within {WITHIN:.0f} m": search_near,
    "FAISS IVF-PQ": search_lists,
    "FAISS flat": search_flat,
    "add": add,
}
SEARCHES = list(MEASURES)[2:-1]
ON_ONE_CORE = ("progeo", f"progeo, within {WITHIN:.0f} m", "FAISS flat")
"""From their start on; IVF-PQ is built by all cores."""


def read_peak_memory() -> float:
    """Return the most memory in MB that this process has held; ``getrusage`` would count what its parent held too."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def read_free_memory() -> float:
    """Return the bytes of memory that a process can have."""
    return 1024 * int(Path("/proc/meminfo").read_text(encoding="utf-8").split("MemAvailable:")[1].split()[0])


def run_alone(name: str, address: Path, queries: Path, photos: int) -> dict[str, Any]:
    """Measure in a process of its own; return what it measured and its greatest memory in MB.

    Where it is bound to one core, it is before it starts, so that all of its threads are.
    """
    command = [sys.executable, "-m", "benchmarks.places", "--measure", name, "--folder", str(address)]
    command += ["--photos", str(photos), "--queries_file", str(queries)]
    is_bound = name in ON_ONE_CORE
    if is_bound:
        command = ["taskset", "--cpu-list", str(min(os.sched_getaffinity(0))), *command]
    threads = ONE_CORE if is_bound else {"OMP_NUM_THREADS": str(os.cpu_count())}
    output = subprocess.run(command, env=os.environ | threads, stdout=subprocess.PIPE, text=True, check=True).stdout
    content: dict[str, Any] = json.loads(output.splitlines()[-1])
    print(name, {key: value for key, value in content.items() if not isinstance(value, list)}, flush=True)
    return content


def describe_search(name: str, result: dict[str, Any], exact: list[int]) -> list[str]:
    """Return a row of the table of searches."""
    clock, core = sorted(result["clock"]), sorted(result["core"])
    agreement = statistics.mean(hit == right for hit, right in zip(result["hits"], exact, strict=True))
    return [
        name,
        f"{result['opened']:.2f} s" if result["opened"] else "-",
        *(f"{statistics.median(times):.1f} ms" for times in (clock, core)),
        f"{core[int(0.95 * len(core))]:.1f} ms",
        f"{100 * agreement:.1f} %",
        f"{result['memory']:,.0f} MB",
        f"{result['before']:,.0f} MB",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument(
        "--folder", type=Path, help="where to put the database, or one made before; else a temporary one"
    )
    parser.add_argument("--leave_out", nargs="*", default=[], choices=MEASURES, help="what not to measure")
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    parser.add_argument("--queries_file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    photos = options.photos // BLOCK * BLOCK
    if options.measure:
        before = read_peak_memory()
        result = MEASURES[options.measure](str(options.folder), photos, options.queries_file)
        print(json.dumps(result | {"memory": read_peak_memory(), "before": before}))
        return
    with tempfile.TemporaryDirectory() as folder:
        address = options.folder or Path(folder) / "places"
        queries = Path(folder) / "queries.npz"
        descriptors, near = draw_queries(photos, options.queries)
        np.savez(queries, queries=descriptors, near=near)
        left_out = set(options.leave_out)
        if 4 * DIMENSION * photos > read_free_memory() / 2:
            left_out.add("FAISS flat")
        if PlaceDatabase.exists(address):
            left_out.add("build")
        names = [name for name in MEASURES if name not in left_out]
        results = {name: run_alone(name, address, queries, photos) for name in names}
    exact = results["exact"]["hits"]
    header = [f"{photos:,} photos", "open", "query, median", "work of the core, median", "95 %"]
    header += ["same first hit as exact search", "memory", "of it before opening"]
    rows = [describe_search(name, results[name], exact) for name in SEARCHES if name in results]
    text = format_table(header, rows)
    if "build" in results and "add" in results:
        built, added = results["build"], results["add"]
        lists = results.get("FAISS IVF-PQ", {}).get("built")
        text += "\n\n" + format_table(
            [f"{photos:,} photos", "time", "peak of memory"],
            [
                ["writing the rows", f"{built['writing']:.0f} s", f"{built['written']:,.0f} MB"],
                ["index, and its agreement", f"{built['indexing']:.0f} s", f"{built['memory']:,.0f} MB"],
                *([["index of FAISS IVF-PQ", f"{lists:.0f} s", "as above"]] if lists else []),
                [
                    f"adding {ADDED:,} photos",
                    f"{added['adding']:.1f} s, of which encoding {added['encoding']:.1f} s",
                    f"{added['memory']:,.0f} MB",
                ],
                ["the index after it", f"{added['refreshing']:.1f} s", "as above"],
            ],
        )
        text += f"\n\n{built['said']}. It takes {built['size'] / 1e9:.1f} GB on disk."
    print(text)
    if photos in SECTIONS and not options.leave_out:
        replace_section(SECTIONS[photos], text)


if __name__ == "__main__":
    main()
