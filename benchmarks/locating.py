"""What the estimate of a place database is worth: against the first match alone, and how honest its confidence is.

    python -m benchmarks.locating --toy_city TOY_CITY --datasets DATASETS [--model MODEL] [--out logs/locating]

TOY_CITY is a folder that ``progeo data toy-city`` has drawn, DATASETS one of test sets, each with ``database`` and
``queries``. Without --model, EfficientNet-Lite0 is used as ImageNet left it, at 160 pixels. Descriptors stay in --out.

- Error and R@1: of the estimate, and of the first match alone.
- Confidence: as many photos of other sets are among the queries, whose places are outside the database. Calibrated with
  queries: learned on four fifths of them and judged on the last, in turn. Calibrated by itself and by default: the
  default is fitted on all other sets.
- Known: of photos from outside, of those inside whose first match is right, and of those inside with their own place
  taken out of the database.
- Circle: how often it holds the truth of estimates that are right.
- Traverse: the toy city's queries in the order of a walk that always goes on to the nearest one not yet passed, at
  1.4 m/s, located as a sequence and each for itself.

``--fit_default`` writes ``src/progeo/locating/default_calibration.json``, fitted on all sets.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.tables import DOCUMENT, write_table
from progeo.data.positions import complete_positions
from progeo.data.sphere import Floats, measure_distances, to_points
from progeo.data.table import read_photos
from progeo.locating import default
from progeo.locating.calibration import (
    BINS,
    FOLDS,
    Calibration,
    Judge,
    cross_validate,
    fit_judge,
    fit_radius_factor,
    measure_calibration_error,
)
from progeo.locating.default import ALONE, PRESENT_BY, STANDARDISED, Defaults, Examples, calibrate_by_itself
from progeo.locating.evidence import RIGHT_WITHIN, Evidence, stack_features, weigh_evidence
from progeo.locating.sequence import find_path
from progeo.models.building import create_model
from progeo.models.encoder import Descriptors, Encoder
from progeo.models.engines.graphs import ExportedModel
from progeo.models.loading import load_model
from progeo.models.network import PlaceNetwork
from progeo.places.database import MATCHES, SEQUENCE_MATCHES
from progeo.places.leaving_out import LEFT_OUT_WITHIN, compare, draw_sample

IMAGE_SIZE = 160
WALKING_SPEED = 1.4
MAX_SPEED = 2.0
FEWEST_QUERIES = 50
"""Of sets with fewer, confidence is not measured."""
FEWEST_IN_A_BIN = 10
FEWEST_OUTSIDE = 40
HAMLETS = 60
PHOTOS_A_TOWN = 100.0
"""The weight of a town where defaults are fitted."""
PICTURE = DOCUMENT.parent / "images" / "reliability.svg"
ORIGIN = "fitted by benchmarks/locating.py with EfficientNet-Lite0 on a drawn town and eight sets of real photos"

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Town:
    """A set: its database as it is searched, and its queries with where they were taken."""

    name: str
    database: pl.DataFrame
    """``id``, ``latitude``, ``longitude``."""
    descriptors: Descriptors
    """Of the database, rounded as it keeps them."""
    queries: Descriptors
    truth: Floats

    @cached_property
    def points(self) -> Floats:
        return to_points(self.database["latitude"].to_numpy(), self.database["longitude"].to_numpy())

    def search(self, queries: Descriptors, k: int = MATCHES, *, without: Floats | None = None) -> list[pl.DataFrame]:
        """As ``PlaceDatabase.search``; for each query without the photos around a point (Q, 3), where that is given."""
        tables = []
        for number, query in enumerate(queries):
            distances = np.linalg.norm(self.descriptors - query, axis=1).astype(np.float64)
            if without is not None:
                distances[measure_distances(self.points, without[number]) <= LEFT_OUT_WITHIN] = np.inf
            nearest = np.argsort(distances, kind="stable")[:k]
            nearest = nearest[np.isfinite(distances[nearest])]
            tables.append(self.database[nearest].with_columns(descriptor_distance=distances[nearest]))
        return tables

    @cached_property
    def matches(self) -> list[pl.DataFrame]:
        return self.search(self.queries)

    @cached_property
    def evidence(self) -> list[Evidence]:
        return [weigh_evidence(table) for table in self.matches]

    @cached_property
    def removed(self) -> list[Evidence]:
        """Of the queries with their own place taken out of the database."""
        return [weigh_evidence(table) for table in self.search(self.queries, without=self.truth) if len(table)]

    @cached_property
    def examples(self) -> Examples:
        """As an index learns from."""
        sample = draw_sample(self.database)
        rows = self.database.with_row_index("row").join(sample, on="id", how="right", maintain_order="right")["row"]
        table = self.database.with_columns(descriptor=pl.Series(self.descriptors.tolist()))
        return compare(sample.with_columns(descriptor=table["descriptor"][rows]), iter([table]), MATCHES)

    @cached_property
    def hamlets(self) -> tuple[list[Evidence], Bools, Bools]:
        return judge_hamlets(self)

    def measure_errors(self, points: Floats) -> Floats:
        return measure_distances(points, self.truth)

    @cached_property
    def errors(self) -> Floats:
        return self.measure_errors(np.stack([item.point for item in self.evidence]))

    @cached_property
    def first_errors(self) -> Floats:
        first = [to_points(table["latitude"][0], table["longitude"][0]) for table in self.matches]
        return self.measure_errors(np.stack(first))


def load_network(model: str | None) -> PlaceNetwork | ExportedModel:
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


def describe_town(name: str, folder: Path, encoder: Encoder, out: Path) -> Town:
    """Encode a set, or read what an earlier start has encoded."""
    path = out / f"{name}.npz"
    if not path.is_file():
        content: dict[str, Any] = {}
        for part in ("database", "queries"):
            table = read_positions(folder / part, out / "cache")
            described, _ = encoder.encode_readable(table["path"].to_list())
            table = table.filter(table["path"].is_in(list(described)))
            content[part] = np.stack([described[path] for path in table["path"]])
            content |= {f"{part}_{column}": table[column].to_numpy() for column in ("latitude", "longitude")}
        np.savez(path, **content)
    stored = np.load(path, allow_pickle=False)
    positions = {column: stored[f"database_{column}"] for column in ("latitude", "longitude")}
    ids = [f"{row:06d}" for row in range(len(stored["database"]))]
    return Town(
        name,
        pl.DataFrame({"id": ids, **positions}),
        stored["database"].astype(np.float16).astype(np.float32),
        stored["queries"],
        to_points(stored["queries_latitude"], stored["queries_longitude"]),
    )


def find_outsiders(towns: Sequence[Town]) -> dict[str, list[Evidence]]:
    """Return for each town what it says of photos of the others, as many as it has queries, drawn by lot."""
    outsiders = {}
    for town in towns:
        others = np.concatenate([other.queries for other in towns if other is not town])
        count = max(FEWEST_OUTSIDE, len(town.queries))
        chosen = others[np.random.default_rng(0).permutation(len(others))[:count]]
        outsiders[town.name] = [weigh_evidence(table) for table in town.search(chosen)]
    return outsiders


def judge_hamlets(town: Town) -> tuple[list[Evidence], Bools, Bools]:
    """Search databases of one to seven places of a town, for which the default is there, for all its queries.

    Returns:
        The evidence, which estimates are right, and which queries are inside; of these as many as outside.
    """
    generator = np.random.default_rng(0)
    evidence: list[Evidence] = []
    right: list[bool] = []
    inside: list[bool] = []
    for number in range(HAMLETS):
        middles = town.points[generator.choice(len(town.points), 1 + number % (default.FEWEST_PLACES - 1))]
        rows = np.flatnonzero((measure_distances(town.points[:, None], middles) <= RIGHT_WITHIN).any(axis=1))
        hamlet = replace(town, database=town.database[rows], descriptors=town.descriptors[rows])
        nearest = measure_distances(town.truth[:, None], hamlet.points).min(axis=1)
        shown = np.asarray(nearest <= RIGHT_WITHIN)
        chosen = np.flatnonzero(shown)
        others = generator.permutation(np.flatnonzero(~shown))[: len(chosen)]
        asked = np.concatenate([chosen, others])
        for query, table in zip(asked.tolist(), hamlet.search(town.queries[asked]), strict=True):
            item = weigh_evidence(table)
            evidence.append(item)
            right.append(bool(measure_distances(item.point, town.truth[query]) <= RIGHT_WITHIN))
            inside.append(bool(shown[query]))
    return evidence, np.array(right), np.array(inside)


def fit_defaults(towns: Sequence[Town], outsiders: dict[str, list[Evidence]]) -> Defaults:
    """Learn from all these towns, each with the same weight."""
    standardised, alone, present, right, inside, weights = [], [], [], [], [], []
    for town in towns:
        evidence = [*town.evidence, *outsiders[town.name][: len(town.queries)]]
        mean, deviation = default.measure_units(town.examples, STANDARDISED)
        found_again = np.full((len(evidence), 1), town.examples.found_again)
        features = (stack_features(evidence, STANDARDISED) - mean) / deviation
        standardised.append(np.column_stack([features, found_again]))
        mean, deviation = default.measure_units(town.examples, PRESENT_BY)
        present.append((stack_features(evidence, PRESENT_BY) - mean) / deviation)
        alone.append(stack_features(evidence, ALONE))
        inside.append(np.arange(len(evidence)) < len(town.queries))
        right.append(np.concatenate([town.errors <= RIGHT_WITHIN, np.zeros(len(evidence) - len(town.queries), bool)]))
        weights.append(np.full(len(evidence), PHOTOS_A_TOWN / len(evidence)))
    ratios = [
        fit_radius_factor(town.errors[near], np.array([item.radius for item in town.evidence])[near], np.nan)
        for town in towns
        for near in [np.flatnonzero(town.errors <= RIGHT_WITHIN)]
    ]

    small = [town.hamlets for town in towns]
    small_weights = [np.full(len(evidence), PHOTOS_A_TOWN / len(evidence)) for evidence, _, _ in small]

    def fit(features: list[Floats], names: tuple[str, ...], outcome: list[Bools]) -> Judge:
        return fit_judge(np.concatenate(features), names, np.concatenate(outcome), np.concatenate(weights))

    def fit_alone(outcome: list[Bools], small_outcome: list[Bools]) -> Judge:
        return fit_judge(
            np.concatenate([*alone, *(stack_features(evidence, ALONE) for evidence, _, _ in small)]),
            ALONE,
            np.concatenate([*outcome, *small_outcome]),
            np.concatenate([*weights, *small_weights]),
        )

    return Defaults(
        origin=ORIGIN,
        right=fit(standardised, (*STANDARDISED, "found_again"), right),
        present=fit(present, PRESENT_BY, inside),
        alone=fit_alone(right, [found for _, found, _ in small]),
        alone_present=fit_alone(inside, [shown for _, _, shown in small]),
        # Where all photos of a place share a point, right estimates have no error, and say nothing of others.
        radius_factor=float(np.mean([ratio for ratio in ratios if ratio > 0])),
    )


def compare_with_first_match(town: Town) -> list[str]:
    """Return median error, also where the first match is right, and R@1, of the first match and of the estimate."""
    near = town.first_errors <= RIGHT_WITHIN
    cells = []
    for measure in (
        np.median,
        lambda errors: np.median(errors[near]),
        lambda errors: 100 * np.mean(errors <= RIGHT_WITHIN),
    ):
        cells += [f"{measure(errors):.1f}" for errors in (town.first_errors, town.errors)]
    return cells


@dataclass(frozen=True)
class Judged:
    """Estimates of photos inside and outside a database, with what is believed of them and what is true."""

    uncalibrated: Floats
    calibrated: Floats
    """With queries, cross-validated."""
    itself: Floats
    default: Floats
    presence: Floats
    """Calibrated with queries."""
    distances: Floats
    radii: dict[str, Floats]
    errors: Floats
    outside: Bools
    folds: NDArray[np.int64]

    @property
    def right(self) -> Bools:
        return self.errors <= RIGHT_WITHIN


def calibrate_both(town: Town, defaults: Defaults) -> tuple[Calibration, Calibration]:
    """Return the calibration of a town by itself, and the default."""
    nothing = Examples(0, [], [], np.empty(0))
    return tuple(  # type: ignore[return-value]
        calibrate_by_itself(examples, len(town.database), defaults) for examples in (town.examples, nothing)
    )


def judge(town: Town, outsiders: list[Evidence], defaults: Defaults) -> Judged:
    """Judge a town's queries and as many photos of other places, if there are enough."""
    evidence = [*town.evidence, *outsiders[: len(town.queries)]]
    outside = np.arange(len(evidence)) >= len(town.queries)
    errors = np.full(len(evidence), np.inf)
    errors[~outside] = town.errors
    itself, alone = calibrate_both(town, defaults)
    calibrated, presence, radii = cross_validate(evidence, errors, ~outside, itself)
    assert presence is not None
    return Judged(
        uncalibrated=np.array([item.agreement for item in evidence]),
        calibrated=calibrated,
        itself=itself.judge(evidence)[0],
        default=alone.judge(evidence)[0],
        presence=presence,
        distances=np.array([item.features["best"] for item in evidence]),
        radii={
            "queries": radii,
            "itself": np.array([itself.limit_radius(item.radius) for item in evidence]),
            "default": np.array([alone.limit_radius(item.radius) for item in evidence]),
        },
        errors=errors,
        outside=outside,
        folds=np.random.default_rng(0).permutation(len(evidence)) % FOLDS,
    )


def judge_known(town: Town, outsiders: list[Evidence], defaults: Defaults) -> list[float]:
    """Return the percentages called known after indexing alone.

    Of photos from outside, those inside with their place removed, those whose first match is right, and wrong.
    """
    itself, _ = calibrate_both(town, defaults)

    def count(evidence: Sequence[Evidence]) -> float:
        return 100 * float(np.mean(itself.judge(evidence)[0] >= 0.5)) if evidence else float("nan")

    right = town.first_errors <= RIGHT_WITHIN
    parts = [[item for item, kept in zip(town.evidence, chosen, strict=True) if kept] for chosen in (right, ~right)]
    return [count(outsiders), count(town.removed), *map(count, parts)]


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


def average_folds(measure: Callable[[Floats, Bools], float], scores: Floats, judged: Judged) -> float:
    """Return the mean over the folds, as those of a cross-validation are judged by different calibrations."""
    folds = [judged.folds == number for number in range(FOLDS)]
    return float(np.mean([measure(scores[fold], judged.outside[fold]) for fold in folds]))


def measure_errors_of_calibration(judged: Judged) -> list[float]:
    """Return the expected calibration errors in percentage points."""
    scores = (judged.uncalibrated, judged.calibrated, judged.itself, judged.default)
    return [100 * measure_calibration_error(score, judged.right) for score in scores]


def measure_rejection(judged: Judged) -> list[float]:
    """Return how well outsiders are rejected by distance and by presence: average precision, precision at recall."""
    return [
        average_folds(measure, scores, judged)
        for measure in (measure_average_precision, partial(measure_precision, recall=0.9))
        for scores in (judged.distances, -judged.presence)
    ]


def measure_circles(judged: Judged) -> list[float]:
    """Return how many percent of right estimates lie in their circle, and the median radius: by three calibrations."""
    right = judged.right
    return [
        figure
        for radii in judged.radii.values()
        for figure in (100 * float(np.mean(judged.errors[right] <= radii[right])), float(np.median(radii[right])))
    ]


def draw_reliability(judgements: dict[str, Judged]) -> None:
    """Draw how often estimates are right against how often they were said to be, over all sets together."""
    right = np.concatenate([judged.right for judged in judgements.values()])
    figure, axes = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
    axes.plot([0, 100], [0, 100], color="0.6", linestyle=":")
    for name, label in (("uncalibrated", "not calibrated"), ("itself", "by itself"), ("calibrated", "with queries")):
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


def walk_through(town: Town) -> list[list[str]]:
    """Return median error, 90th percentile and R@1 of single photos and of the sequence."""
    order, intervals = order_as_walk(town.truth)
    walked = replace(town, queries=town.queries[order], truth=town.truth[order])
    path = find_path(walked.search(walked.queries, SEQUENCE_MATCHES), intervals, MAX_SPEED)
    rows = []
    for name, errors in (("each photo for itself", walked.errors), ("as a sequence", walked.measure_errors(path))):
        figures = (np.median(errors), np.percentile(errors, 90), 100 * np.mean(errors <= RIGHT_WITHIN))
        rows.append([name, *(f"{figure:.1f}" for figure in figures)])
    return rows


def write_figures(name: str, header: list[str], rows: dict[str, list[float]]) -> None:
    """Write a table of figures with their means."""
    means = np.nanmean(np.array(list(rows.values())), axis=0).tolist()
    lines = [[label, *(f"{figure:.1f}" for figure in figures)] for label, figures in {**rows, "mean": means}.items()]
    write_table(name, header, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy_city", type=Path, required=True)
    parser.add_argument("--datasets", type=Path, required=True)
    parser.add_argument("--model")
    parser.add_argument("--out", type=Path, default=Path("logs/locating"))
    parser.add_argument("--fit_default", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    encoder = Encoder.create(load_network(options.model))
    folders = {"toy city": options.toy_city / "test"}
    folders |= {path.parent.name: path.parent for path in sorted(options.datasets.glob("*/queries"))}

    towns = [describe_town(name, folder, encoder, options.out) for name, folder in folders.items()]
    outsiders = find_outsiders(towns)
    if options.fit_default:
        content = json.dumps(asdict(fit_defaults(towns, outsiders)), indent=1)
        default.PATH.write_text(content + "\n", encoding="utf-8")
    judgements, known = {}, {}
    for town in towns:
        defaults = fit_defaults([other for other in towns if other is not town], outsiders)
        known[town.name] = judge_known(town, outsiders[town.name], defaults)
        if len(town.queries) >= FEWEST_QUERIES:
            judgements[town.name] = judge(town, outsiders[town.name], defaults)
    draw_reliability(judgements)
    header = ["", "queries", "median error, first match", "estimate"]
    header += ["where the first match is right, first match", "estimate", "R@1, first match", "estimate"]
    write_table(
        "locating", header, [[town.name, str(len(town.truth)), *compare_with_first_match(town)] for town in towns]
    )
    header = ["", "not calibrated", "calibrated with queries", "by itself", "by default"]
    rows = {name: measure_errors_of_calibration(judged) for name, judged in judgements.items()}
    write_figures("calibration", header, rows)
    header = ["", "average precision, distance", "presence", "precision at 90 % recall, distance", "presence"]
    write_figures("confidence", header, {name: measure_rejection(judged) for name, judged in judgements.items()})
    header = ["", "from outside", "place removed", "inside, first match right", "inside, first match wrong"]
    write_figures("known", header, known)
    header = ["", "with queries", "radius", "by itself", "radius", "by default", "radius"]
    write_figures("circles", header, {name: measure_circles(judged) for name, judged in judgements.items()})
    header = ["", "median error", "90th percentile", "R@1"]
    write_table("traverse", header, walk_through(towns[0]))


if __name__ == "__main__":
    main()
