"""What the estimate of a place database is worth: against the first match alone, and how honest its confidence is.

    python -m benchmarks.locating --toy_city TOY_CITY --datasets DATASETS [--model MODEL] [--out logs/locating]

TOY_CITY is a folder that ``progeo data toy-city`` has drawn, DATASETS one of test sets, each with ``database`` and
``queries``. Without --model, EfficientNet-Lite0 is used as ImageNet left it, at 160 pixels.

- Error and R@1: of the estimate, and of the first match alone.
- Confidence: learned on four fifths of the queries and judged on the last, in turn, with as many photos of other sets
  among them, whose places are outside the database.
- Traverse: the toy city's queries in the order of a walk that always goes on to the nearest one not yet passed, at
  1.4 m/s, located as a sequence and each for itself.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.tables import DOCUMENT, write_table
from progeo.data.positions import complete_positions
from progeo.data.sphere import Floats, measure_distances, to_points
from progeo.data.table import read_photos
from progeo.locating.calibration import BINS, cross_validate, measure_calibration_error
from progeo.locating.estimate import RIGHT_WITHIN, Evidence, weigh_evidence
from progeo.models.encoder import Descriptors
from progeo.models.network import PlaceNetwork, create_model
from progeo.models.published import load_model
from progeo.places.database import PlaceDatabase

IMAGE_SIZE = 160
WALKING_SPEED = 1.4
MAX_SPEED = 2.0
FEWEST_QUERIES = 50
"""Of sets with fewer, confidence is not learned."""
FEWEST_IN_A_BIN = 10
PICTURE = DOCUMENT.parent / "images" / "reliability.svg"


@dataclass(frozen=True)
class Queries:
    """The queries of a set, what was found for them, and where they were taken."""

    descriptors: Descriptors
    matches: list[pl.DataFrame]
    truth: Floats

    @property
    def evidence(self) -> list[Evidence]:
        return [weigh_evidence(table) for table in self.matches]

    def measure_errors(self, points: Floats) -> Floats:
        return measure_distances(points, self.truth)


def load_network(model: str | None) -> PlaceNetwork:
    """Return the model to measure with."""
    if model is not None:
        return load_model(model)
    network = create_model("EfficientNet-Lite0", descriptor_dim=512).eval()
    network.set_image_size(IMAGE_SIZE)
    return network


def read_positions(folder: Path, cache: Path) -> pl.DataFrame:
    """Read an image table; coordinates without a zone, which are made up, are taken to be in one."""
    table = read_photos(folder, cache)
    made_up = pl.col("latitude").is_null() & (pl.col("utm_zone").is_null() | pl.col("utm_letter").is_null())
    return complete_positions(
        table.with_columns(
            utm_zone=pl.when(made_up).then(31).otherwise("utm_zone"),
            utm_letter=pl.when(made_up).then(pl.lit("N")).otherwise("utm_letter"),
        )
    )


def make_database(folder: Path, network: PlaceNetwork, out: Path) -> PlaceDatabase:
    """Index the database of a set, or go on with what an earlier start has done."""
    address = out / f"{folder.name}.places"
    if PlaceDatabase.exists(address):
        database = PlaceDatabase.open(address, show_progress=True)
    else:
        database = PlaceDatabase.create(address, network, show_progress=True)
    database.add(read_positions(folder / "database", out / "cache"))
    return database


def search_queries(folder: Path, database: PlaceDatabase, out: Path) -> Queries:
    """Search the database of a set for its queries."""
    table = read_positions(folder / "queries", out / "cache")
    described, _ = database.encoder.encode_readable(table["path"].to_list())
    descriptors = np.stack([described[path] for path in table["path"]])
    truth = to_points(table["latitude"].to_numpy(), table["longitude"].to_numpy())
    return Queries(descriptors, database.search(descriptors), truth)


def compare_with_first_match(queries: Queries) -> list[str]:
    """Return median error and R@1 of the first match and of the estimate."""
    first = np.stack([to_points(table["latitude"][0], table["longitude"][0]) for table in queries.matches])
    estimates = np.stack([evidence.point for evidence in queries.evidence])
    cells = []
    for measure in (np.median, lambda errors: 100 * np.mean(errors <= RIGHT_WITHIN)):
        cells += [f"{measure(queries.measure_errors(points)):.1f}" for points in (first, estimates)]
    return cells


@dataclass(frozen=True)
class Judged:
    """Estimates of photos inside and outside a database, with what is believed of them and what is true."""

    probabilities: Floats
    uncalibrated: Floats
    distances: Floats
    right: NDArray[np.bool_]
    outside: NDArray[np.bool_]


def judge(queries: Queries, outsiders: list[pl.DataFrame]) -> Judged:
    """Cross-validate the confidence on queries, and photos of other places, as many if there are enough."""
    generator = np.random.default_rng(0)
    chosen = generator.permutation(len(outsiders))[: len(queries.matches)]
    tables = [*queries.matches, *(outsiders[number] for number in chosen)]
    evidence = [weigh_evidence(table) for table in tables]
    outside = np.arange(len(evidence)) >= len(queries.matches)
    errors = np.full(len(evidence), np.inf)
    errors[~outside] = queries.measure_errors(np.stack([item.point for item in queries.evidence]))
    features = np.stack([item.features for item in evidence])
    radii = np.array([item.radius for item in evidence])
    return Judged(
        probabilities=cross_validate(features, errors, radii, RIGHT_WITHIN),
        uncalibrated=np.array([item.agreement for item in evidence]),
        distances=np.array([table["descriptor_distance"][0] for table in tables]),
        right=errors <= RIGHT_WITHIN,
        outside=outside,
    )


def measure_average_precision(scores: Floats, wanted: NDArray[np.bool_]) -> float:
    """Return the area below precision over recall, in percent: the mean precision at each wanted item, best first."""
    order = np.argsort(-scores, kind="stable")
    hits = wanted[order]
    return float(100 * (np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def measure_precision(scores: Floats, wanted: NDArray[np.bool_], recall: float) -> float:
    """Return the precision in percent at which so many of the wanted are found."""
    hits = wanted[np.argsort(-scores, kind="stable")]
    needed = int(np.ceil(recall * hits.sum()))
    return float(100 * needed / (np.flatnonzero(hits)[needed - 1] + 1))


def describe_judgement(judged: Judged) -> list[str]:
    """Return the expected calibration errors in percentage points, and how well outsiders are rejected."""
    cells = [
        f"{100 * measure_calibration_error(scores, judged.right):.1f}"
        for scores in (judged.uncalibrated, judged.probabilities)
    ]
    for measure in (measure_average_precision, partial(measure_precision, recall=0.9)):
        cells += [f"{measure(scores, judged.outside):.1f}" for scores in (judged.distances, -judged.probabilities)]
    return cells


def draw_reliability(judgements: dict[str, Judged]) -> None:
    """Draw how often estimates are right against how often they were said to be, over all sets together."""
    right = np.concatenate([judged.right for judged in judgements.values()])
    figure, axes = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
    axes.plot([0, 100], [0, 100], color="0.6", linestyle=":")
    for name, label in (("uncalibrated", "not calibrated"), ("probabilities", "calibrated")):
        scores = np.concatenate([getattr(judged, name) for judged in judgements.values()])
        bins = np.minimum((scores * BINS).astype(int), BINS - 1)
        filled = [number for number in range(BINS) if (bins == number).sum() >= FEWEST_IN_A_BIN]
        said = [100 * scores[bins == number].mean() for number in filled]
        true = [100 * right[bins == number].mean() for number in filled]
        axes.plot(said, true, marker="o", label=label)
    axes.set(xlabel="probability stated, %", ylabel="estimates within 25 m, %", xlim=(0, 100), ylim=(0, 100))
    axes.legend(frameon=False)
    figure.savefig(PICTURE, metadata={"Date": None})


def order_as_walk(truth: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Return the queries (Q,) in the order of the walk, and the seconds (Q,) from one to the next."""
    left = list(range(len(truth)))
    walk = [left.pop(int(np.argmin(truth[:, 0])))]
    while left:
        distances = measure_distances(truth[left], truth[walk[-1]])
        walk.append(left.pop(int(np.argmin(distances))))
    order = np.array(walk)
    steps = measure_distances(truth[order[1:]], truth[order[:-1]])
    return order, np.concatenate([[0.0], np.maximum(1.0, steps / WALKING_SPEED)])


def walk_through(queries: Queries, database: PlaceDatabase) -> list[list[str]]:
    """Return median error, 90th percentile and R@1 of single photos and of the sequence."""
    order, intervals = order_as_walk(queries.truth)
    walked = replace(queries, descriptors=queries.descriptors[order], truth=queries.truth[order])
    single = database.locate_descriptors(walked.descriptors)
    sequence = database.locate_descriptors(walked.descriptors, intervals=intervals, max_speed=MAX_SPEED)
    rows = []
    for name, estimates in (("each photo for itself", single), ("as a sequence", sequence)):
        latitude, longitude = np.array([(estimate.latitude, estimate.longitude) for estimate in estimates]).T
        errors = walked.measure_errors(to_points(latitude, longitude))
        figures = (np.median(errors), np.percentile(errors, 90), 100 * np.mean(errors <= RIGHT_WITHIN))
        rows.append([name, *(f"{figure:.1f}" for figure in figures)])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy_city", type=Path, required=True)
    parser.add_argument("--datasets", type=Path, required=True)
    parser.add_argument("--model")
    parser.add_argument("--out", type=Path, default=Path("logs/locating"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    network = load_network(options.model)
    folders = {"toy city": options.toy_city / "test"}
    folders |= {path.parent.name: path.parent for path in sorted(options.datasets.glob("*/queries"))}

    databases = {name: make_database(folder, network, options.out) for name, folder in folders.items()}
    queries = {name: search_queries(folders[name], database, options.out) for name, database in databases.items()}
    errors, confidence, judgements = [], [], {}
    for name, database in databases.items():
        errors.append([name, str(len(queries[name].truth)), *compare_with_first_match(queries[name])])
        if len(queries[name].truth) >= FEWEST_QUERIES:
            others = np.concatenate([other.descriptors for label, other in queries.items() if label != name])
            judgements[name] = judge(queries[name], database.search(others))
            confidence.append([name, *describe_judgement(judgements[name])])
    draw_reliability(judgements)
    header = ["", "queries", "median error, first match", "estimate", "R@1, first match", "estimate"]
    write_table("locating", header, errors)
    header = ["", "calibration error, not calibrated", "calibrated"]
    header += ["average precision, distance", "confidence", "precision at 90 % recall, distance", "confidence"]
    write_table("confidence", header, confidence)
    header = ["", "median error", "90th percentile", "R@1"]
    write_table("traverse", header, walk_through(queries["toy city"], databases["toy city"]))


if __name__ == "__main__":
    main()
