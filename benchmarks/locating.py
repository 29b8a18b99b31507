"""What the estimate of a place database is worth: against the first match alone, and how honest its confidence is.

    python -m benchmarks.locating --toy_city TOY_CITY --datasets DATASETS [--heads gem vlad] [--out logs/locating]

TOY_CITY is a folder that ``progeo data toy-city`` has drawn, DATASETS one of test sets, each with ``database`` and
``queries``. The model is EfficientNet-Lite0 as ImageNet left it, with GeM, and with a head that is fitted to the
database of each set. Matches are verified, as by default. Descriptors and keypoints stay in --out.

- Error and R@1: of the estimate, and of the first match, before and after it is verified.
- Confidence: as many photos of other sets are among the queries, whose places are outside the database. Calibrated with
  queries: learned on four fifths of them and judged on the last, in turn. Calibrated by itself and by default: the
  default is fitted on all other sets, with both heads.
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
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from benchmarks.defaults import Bools, fit_defaults
from benchmarks.tables import DOCUMENT, write_table
from benchmarks.towns import Town, describe_town, send_outsiders
from progeo.data.sphere import Floats, measure_distances, to_points
from progeo.locating import default
from progeo.locating.calibration import BINS, FOLDS, Calibration, cross_validate, measure_calibration_error
from progeo.locating.default import Defaults, Examples, calibrate_by_itself
from progeo.locating.evidence import RIGHT_WITHIN, Evidence
from progeo.locating.sequence import find_path
from progeo.models.encoder import Encoder
from progeo.models.published import load_network
from progeo.places.database import SEQUENCE_MATCHES

WALKING_SPEED = 1.4
MAX_SPEED = 2.0
FEWEST_QUERIES = 50
"""Of sets with fewer, confidence is not measured."""
FEWEST_IN_A_BIN = 10
PICTURE = DOCUMENT.parent / "images" / "reliability.svg"


def load_encoder(head: str, folder: Path) -> Encoder:
    """Return the encoder of a set by a head: GeM as ImageNet left the backbone, or fitted to the set's database."""
    if head == "gem":
        return Encoder.create(load_network("EfficientNet-Lite0"))
    import progeo

    return Encoder.create(progeo.fit(folder / "database"))


def compare_with_first_match(town: Town) -> list[str]:
    """Return median error, also where the first match is right, and R@1.

    Of the first match by descriptors, of the first one verified, and of the estimate.
    """
    plain = town.measure_errors(
        np.stack([to_points(table["latitude"][0], table["longitude"][0]) for table in town.plain])
    )
    near = plain <= RIGHT_WITHIN
    cells = []
    for measure in (
        np.median,
        lambda errors: np.median(errors[near]),
        lambda errors: 100 * np.mean(errors <= RIGHT_WITHIN),
    ):
        cells += [f"{measure(errors):.1f}" for errors in (plain, town.first_errors, town.errors)]
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
        calibrate_by_itself(examples, len(town.database), defaults, town.head) for examples in (town.examples, nothing)
    )


def judge(town: Town, defaults: Defaults) -> Judged:
    """Judge a town's queries and as many photos of other places, if there are enough."""
    evidence = [*town.evidence, *town.outside[: len(town.queries)]]
    outside = np.arange(len(evidence)) >= len(town.queries)
    tables = [*town.plain, *town.search(town.outsiders[: len(town.queries)])]
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
        # Of the first match by descriptors, as a plain search has it.
        distances=np.array([table["descriptor_distance"].min() for table in tables]),
        radii={
            "queries": radii,
            "itself": np.array([itself.limit_radius(item.radius) for item in evidence]),
            "default": np.array([alone.limit_radius(item.radius) for item in evidence]),
        },
        errors=errors,
        outside=outside,
        folds=np.random.default_rng(0).permutation(len(evidence)) % FOLDS,
    )


def judge_known(town: Town, defaults: Defaults) -> list[float]:
    """Return the percentages called known after indexing alone.

    Of photos from outside, those inside with their place removed, those whose first match is right, and wrong.
    """
    itself, _ = calibrate_both(town, defaults)

    def count(evidence: Sequence[Evidence]) -> float:
        return 100 * float(np.mean(itself.judge(evidence)[0] >= 0.5)) if evidence else float("nan")

    right = town.first_errors <= RIGHT_WITHIN
    parts = [[item for item, kept in zip(town.evidence, chosen, strict=True) if kept] for chosen in (right, ~right)]
    return [count(town.outside), count(town.removed), *map(count, parts)]


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
    paths = [town.paths[number] for number in order.tolist()]
    walked = replace(town, queries=town.queries[order], paths=paths, truth=town.truth[order])
    matches = walked.verify(walked.search(walked.queries, SEQUENCE_MATCHES), walked.paths)
    path = find_path(matches, intervals, MAX_SPEED)
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
    parser.add_argument("--heads", nargs="+", default=["gem", "vlad"])
    parser.add_argument("--out", type=Path, default=Path("logs/locating"))
    parser.add_argument("--fit_default", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    folders = {"toy city": options.toy_city / "test"}
    folders |= {path.parent.name: path.parent for path in sorted(options.datasets.glob("*/queries"))}
    towns: list[Town] = []
    for head in options.heads:
        encoders = {name: load_encoder(head, folder) for name, folder in folders.items()}
        described = [describe_town(name, folder, encoders[name], options.out) for name, folder in folders.items()]
        send_outsiders(described, encoders)
        towns += described
    if options.fit_default:
        content = json.dumps(asdict(fit_defaults(towns)), indent=1)
        default.PATH.write_text(content + "\n", encoding="utf-8")
    report(towns)


def report(towns: Sequence[Town]) -> None:
    """Measure and write all tables."""
    judgements, known = {}, {}
    for town in towns:
        defaults = fit_defaults([other for other in towns if other.name != town.name])
        name = f"{town.name}, {town.head}"
        known[name] = judge_known(town, defaults)
        if len(town.queries) >= FEWEST_QUERIES:
            judgements[name] = judge(town, defaults)
    draw_reliability(judgements)
    header = ["", "queries", "median error, first match", "verified", "estimate"]
    header += ["where the first match is right, first match", "verified", "estimate"]
    header += ["R@1, first match", "verified", "estimate"]
    rows = [[f"{town.name}, {town.head}", str(len(town.truth)), *compare_with_first_match(town)] for town in towns]
    write_table("locating", header, rows)
    header = ["", "not calibrated", "calibrated with queries", "by itself", "by default"]
    errors = {name: measure_errors_of_calibration(judged) for name, judged in judgements.items()}
    write_figures("calibration", header, errors)
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
