"""What a model without training finds: fitted words of local features against GeM, and smaller descriptors of both.

    python -m benchmarks.fitted DATASETS [--out logs/fitted] [--sizes 224] [--model EfficientNet-Lite0] [--sets …]

DATASETS is a folder of test sets, each with ``database`` and ``queries``. Each photo runs through the network once a
size; what came out is kept in the output folder, so that the script can be stopped and started again. Words, principal
components and descriptors are then made of that by the functions that ``progeo.fit`` uses.

- R@1: queries whose most similar database photo lies within 25 m.
- Known: average precision of telling the set's queries from queries of the other sets by the similarity of their best
  match, in percent.
- k-means: CPU time of finding the words.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.locating import measure_average_precision
from benchmarks.tables import write_table
from progeo.evaluation.evaluation_set import read_evaluation_set
from progeo.evaluation.positives import PUBLISHED_RULE, read_coordinates
from progeo.models.encoder import Descriptors, Encoder
from progeo.models.features import Features, FeatureShapes
from progeo.models.heads import create_head
from progeo.models.loading import load_model
from progeo.training.fitting import GEM_LENGTH, VOCABULARY_PHOTOS, WHITENING, WORDS, choose_features, find_words
from progeo.training.principal import find_components

OUTSIDERS = 40
"""Queries of each other set that stand for places outside the database."""
CURVE = (1024, 512, 256, 128, 64, 32)
Half = NDArray[np.float16]


class Described(NamedTuple):
    """What a network gave for a list of photos."""

    gem: Descriptors
    local: list[Half]
    """(n, C) for each photo."""


def describe(paths: list[str], encoder: Encoder, kept: Path) -> Described:
    """Run photos through the network, or read what an earlier start has kept of them."""
    if not kept.is_file():
        gem = np.empty((len(paths), encoder.descriptor_dim), dtype=np.float32)
        local: list[Half] = [np.empty((0, 0), dtype=np.float16)] * len(paths)
        items = ((number, encoder.read(path)) for number, path in enumerate(paths))
        for numbers, descriptors, maps in encoder.encode_pixels_with_local(items):
            gem[numbers] = descriptors
            for number, grid in zip(numbers, maps, strict=True):
                local[number] = grid.reshape(len(grid), -1).T.copy()
        ends = np.cumsum([len(features) for features in local])
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, gem=gem, local=np.concatenate(local), ends=ends)
    found = np.load(kept)
    return Described(found["gem"], np.split(found["local"], found["ends"][:-1]))


class TestSet(NamedTuple):
    """A set, described at one size."""

    name: str
    database: Described
    queries: Described
    errors: NDArray[np.float64]
    """Metres from each query to each photo of the database."""


def read_set(folder: Path, encoder: Encoder, out: Path) -> TestSet:
    """Describe a set's photos."""
    found = read_evaluation_set(folder, cache_folder=out / "cache")
    points = read_coordinates(PUBLISHED_RULE, found.database, found.queries)
    size = encoder.preprocessing.image_size
    parts = {"database": found.database["path"].to_list(), "queries": found.queries["path"].to_list()}
    described = [describe(paths, encoder, out / f"{folder.name}_{size}_{part}.npz") for part, paths in parts.items()]
    errors = np.linalg.norm(points[1][:, None] - points[0][None], axis=2)
    return TestSet(folder.name, described[0], described[1], errors)


@dataclasses.dataclass
class Vlad:
    """The words of a database, and the descriptors that they make."""

    database: Described
    words: int = WORDS
    seed: int = 0

    def __post_init__(self) -> None:
        start = time.process_time()
        sample = [choose_features(features, self.seed) for features in self.database.local[:VOCABULARY_PHOTOS]]
        centres = find_words(np.concatenate(sample).astype(np.float32), self.words, self.seed)
        self.seconds = time.process_time() - start
        channels = centres.shape[1]
        shapes = FeatureShapes(map=channels, local=channels)
        self.head, _ = create_head("vlad", shapes, self.words * channels, {"words": self.words})
        self.head.get_buffer("words").copy_(torch.from_numpy(centres))

    def describe(self, photos: Described, gem_length: float = GEM_LENGTH) -> Descriptors:
        """Return the descriptors of photos, GeM joined to them."""
        rows = np.stack(list(self._run(photos)))
        return normalize(np.concatenate([rows, gem_length * photos.gem], axis=1) if gem_length else rows)

    @torch.inference_mode()
    def _run(self, photos: Described) -> Iterator[Descriptors]:
        for features in photos.local:
            grid = torch.from_numpy(features.astype(np.float32)).T[None, :, :, None]
            yield self.head(Features(stages={"local": grid}))[0].numpy()


def normalize(rows: Descriptors) -> Descriptors:
    """Return rows at length 1."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def reduce(described: list[Descriptors]) -> list[Descriptors]:
    """Return descriptors by the principal components of the first, the widest first, not yet at length 1."""
    found = find_components(described[0], min(CURVE[0], len(described[0]) - 1), WHITENING)
    return [((rows - found.mean) @ found.directions.T).astype(np.float32) for rows in described]


def judge(
    test_set: TestSet, database: Descriptors, queries: Descriptors, outsiders: Descriptors
) -> tuple[float, float]:
    """Return R@1 and how well queries are told from outsiders, both in percent."""
    similar = queries @ database.T
    right = test_set.errors[np.arange(len(queries)), similar.argmax(axis=1)] <= PUBLISHED_RULE.limit
    scores = np.concatenate([similar.max(axis=1), (outsiders @ database.T).max(axis=1)])
    inside = np.arange(len(scores)) < len(queries)
    return 100 * float(right.mean()), measure_average_precision(scores, inside)


def pick(photos: Described, count: int) -> Described:
    """Return some photos, spread over all."""
    rows = np.linspace(0, len(photos.gem) - 1, min(count, len(photos.gem))).astype(int)
    return Described(photos.gem[rows], [photos.local[row] for row in rows])


def join(described: list[Described]) -> Described:
    return Described(np.concatenate([one.gem for one in described]), [f for one in described for f in one.local])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path)
    parser.add_argument("--out", type=Path, default=Path("logs/fitted"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[224])
    parser.add_argument("--model", default="EfficientNet-Lite0")
    parser.add_argument("--sets", nargs="+", help="only these sets")
    arguments = parser.parse_args()
    names = arguments.sets or sorted(path.parent.name for path in arguments.datasets.glob("*/queries"))
    network = load_model(arguments.model)
    sets: dict[int, list[TestSet]] = {}
    for size in arguments.sizes:
        preprocessing = dataclasses.replace(network.preprocessing, image_size=size)
        encoder = Encoder.create(network, preprocessing=preprocessing, num_workers=0, batch_size=8)
        sets[size] = [read_set(arguments.datasets / name, encoder, arguments.out) for name in names]

    rows: list[list[str]] = []
    curve: dict[int, list[tuple[float, float]]] = {count: [] for count in (0, *CURVE)}
    first = arguments.sizes[0]
    for number, test_set in enumerate(sets[first]):
        others = [pick(other.queries, OUTSIDERS) for other in sets[first] if other is not test_set]
        outside = join(others)
        gem = [
            judge(one[number], one[number].database.gem, one[number].queries.gem, outside.gem)[0]
            for one in sets.values()
        ]
        gem_known = judge(test_set, test_set.database.gem, test_set.queries.gem, outside.gem)[1]
        vlad = Vlad(test_set.database)
        alone = [vlad.describe(photos, 0.0) for photos in (test_set.database, test_set.queries, outside)]
        fitted = [vlad.describe(photos) for photos in (test_set.database, test_set.queries, outside)]
        reduced = reduce(fitted)
        for count in curve:
            few = [normalize(one[:, :count]) for one in reduced] if count else fitted
            curve[count].append(judge(test_set, *few))
        judged = [
            judge(test_set, *alone),
            curve[0][-1],
            curve[512][-1],
        ]
        photos = len(test_set.database.gem)
        rows.append(
            [
                test_set.name,
                f"{photos:,} / {len(test_set.queries.gem):,}",
                *(f"{recall:.1f}" for recall in (max(gem), *(pair[0] for pair in judged))),
                *(f"{known:.1f}" for known in (gem_known, *(pair[1] for pair in judged))),
                f"{vlad.seconds:.1f} s",
            ]
        )
        print(" | ".join(rows[-1]), flush=True)
    means = [f"**{np.mean([float(row[column]) for row in rows]):.1f}**" for column in range(2, 10)]
    rows.append(["**mean**", "", *means, ""])
    dimension = fitted[0].shape[1]
    write_table(
        "fitted",
        [
            *("set", "database / queries", "R@1: GeM", "VLAD", "fit", "fit, PCA 512"),
            *("known: GeM", "VLAD", "fit", "fit, PCA 512", "k-means"),
        ],
        rows,
    )
    write_table(
        "smaller descriptors",
        ["dimensions", "bytes a photo", "mean R@1", "mean known"],
        [
            [
                f"{count or dimension:,}",
                f"{4 * (count or dimension):,}",
                *(f"{np.mean([pair[place] for pair in pairs]):.1f}" for place in (0, 1)),
            ]
            for count, pairs in curve.items()
        ],
    )


if __name__ == "__main__":
    main()
