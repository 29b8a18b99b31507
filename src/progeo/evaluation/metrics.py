"""Figures beyond R@N: their uncertainty, mean average precision, the first match, other radii, groups of queries."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from progeo.console import format_rounded
from progeo.evaluation.recall import Evaluation
from progeo.search.exact import Floats

RESAMPLES = 10_000
Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class FirstMatch:
    """How well the distance of the descriptors tells right first predictions from wrong ones.

    Accepting the first predictions nearer than a limit gives a precision (right ones among those accepted) and a
    recall (right ones accepted among all queries that have a positive); raising the limit gives the curve.
    """

    precision: Floats
    """(C,) float64, percent, one value per different distance, the smallest first."""
    recall: Floats
    """(C,) float64, percent, rising."""

    @property
    def average_precision(self) -> float:
        """Area below the curve in percent: precision summed over the steps of recall, without interpolation."""
        return float((np.diff(self.recall, prepend=0.0) * self.precision).sum() / 100.0)

    @property
    def recall_at_full_precision(self) -> float:
        """The largest recall in percent at which every accepted prediction is right."""
        return float(self.recall[self.precision >= 100.0].max(initial=0.0))


@dataclass(frozen=True)
class QueryGroup:
    """The recalls of the queries that share a value of a column."""

    value: str
    queries: int
    recalls: dict[int, float]
    intervals: dict[int, Interval]


@dataclass(frozen=True)
class Measurements:
    """What is measured beside an evaluation's recalls."""

    intervals: dict[int, Interval]
    """95 % bootstrap interval of each R@N in percent."""
    points_per_query: float
    """What one query more or less right is worth, in points of R@N."""
    average_precision_rank: int
    mean_average_precision: float
    """mAP@k in percent, k being ``average_precision_rank``."""
    first_match: FirstMatch | None
    """None where the distances of the descriptors were not kept."""
    radii: dict[float, dict[int, float]]
    """R@N at other radii in metres."""
    group_by: str | None
    groups: list[QueryGroup]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON holds them."""
        return {
            "recalls_interval": _name_intervals(self.intervals),
            "points_per_query": self.points_per_query,
            "mean_average_precision": {f"mAP@{self.average_precision_rank}": self.mean_average_precision},
            "first_match": self.first_match
            and {
                "average_precision": self.first_match.average_precision,
                "recall_at_full_precision": self.first_match.recall_at_full_precision,
            },
            "recalls_by_radius": {f"{radius:g}": _name_ranks(recalls) for radius, recalls in self.radii.items()},
            "recalls_by_group": {
                group.value: {
                    "queries": group.queries,
                    "recalls": _name_ranks(group.recalls),
                    "recalls_interval": _name_intervals(group.intervals),
                }
                for group in self.groups
            },
        }

    def describe_intervals(self) -> str:
        """Return the intervals as one line."""
        intervals = ", ".join(f"R@{rank}: {low:.1f} to {high:.1f}" for rank, (low, high) in self.intervals.items())
        worth = format_rounded(self.points_per_query)
        return f"95 % intervals: {intervals}; one query is worth {worth} point{'' if worth == '1' else 's'}"


def measure(
    evaluation: Evaluation,
    *,
    radii: Sequence[float] = (),
    group_by: str | None = None,
    groups: Mapping[str, NDArray[np.int64]] | None = None,
    seed: int = 0,
) -> Measurements:
    """Measure everything beside the recalls.

    Args:
        evaluation: what was found.
        radii: further metres at which to give R@N, where the rule measures metres.
        group_by: what the groups are values of.
        groups: rows of the queries by value, from ``group_queries``.
        seed: of the bootstrap.
    """
    return Measurements(
        intervals=bootstrap_recalls(evaluation, seed),
        points_per_query=100.0 / len(evaluation.predictions),
        average_precision_rank=evaluation.predictions.shape[1],
        mean_average_precision=measure_average_precision(evaluation),
        first_match=measure_first_match(evaluation),
        radii={radius: _with_limit(evaluation, radius).recalls for radius in sorted(set(radii))},
        group_by=group_by,
        groups=[_measure_group(evaluation, value, rows, seed) for value, rows in (groups or {}).items()],
    )


def bootstrap_recalls(evaluation: Evaluation, seed: int = 0) -> dict[int, Interval]:
    """Return the 95 % percentile bootstrap interval of each R@N in percent, from RESAMPLES draws of the queries.

    All that matters of a query is the first rank at which it is right, so that drawing Q queries anew is one draw of
    how many fall into each class of rank: multinomial, the same distribution at a cost that does not grow with Q. The
    interval is for queries drawn independently; frames of one drive are alike, and deserve a wider one.
    """
    recalls = evaluation.recalls
    counts = np.diff([0.0, *recalls.values(), 100.0]) * len(evaluation.predictions) / 100.0
    shares = counts.round() / len(evaluation.predictions)
    draws = np.random.default_rng(seed).multinomial(len(evaluation.predictions), shares, size=RESAMPLES)
    resampled = 100.0 * draws[:, :-1].cumsum(axis=1) / len(evaluation.predictions)
    low, high = np.percentile(resampled, [2.5, 97.5], axis=0)
    return {rank: (float(low[i]), float(high[i])) for i, rank in enumerate(recalls)}


def measure_average_precision(evaluation: Evaluation) -> float:
    """Return mAP@k in percent, over the k predictions of each query.

    Of one query: the precision at each rank that is right, summed and divided by the number of positives, or by k
    where there are more (as Google Landmarks defines mAP@100, arXiv 2004.01804, eq. 1). Without positives it is 0.
    """
    right = evaluation.right
    ranks = np.arange(1, right.shape[1] + 1)
    precision = right.cumsum(axis=1) / ranks
    possible = np.clip(evaluation.positive_counts, 1, right.shape[1])
    return float(100.0 * ((precision * right).sum(axis=1) / possible).mean())


def measure_first_match(evaluation: Evaluation) -> FirstMatch | None:
    """Return precision and recall of the first predictions accepted by the distance of their descriptors."""
    if evaluation.descriptor_distances is None:
        return None
    distances, right = evaluation.descriptor_distances[:, 0], evaluation.right[:, 0]
    order = np.argsort(distances, kind="stable")
    # Predictions at one distance are accepted together.
    last_of_distance = np.flatnonzero(np.append(np.diff(distances[order]) > 0, True))
    accepted_right = right[order].cumsum()[last_of_distance]
    with_positives = max(int(evaluation.has_positives.sum()), 1)
    return FirstMatch(
        precision=100.0 * accepted_right / (last_of_distance + 1),
        recall=100.0 * accepted_right / with_positives,
    )


def _measure_group(evaluation: Evaluation, value: str, rows: NDArray[np.int64], seed: int) -> QueryGroup:
    part = dataclasses.replace(
        evaluation,
        predictions=evaluation.predictions[rows],
        errors=evaluation.errors[rows],
        nearest_images=evaluation.nearest_images[rows],
        nearest_distances=evaluation.nearest_distances[rows],
        query_positions=evaluation.query_positions[rows],
        descriptor_distances=None,
    )
    return QueryGroup(value, len(rows), part.recalls, bootstrap_recalls(part, seed))


def _with_limit(evaluation: Evaluation, limit: float) -> Evaluation:
    return dataclasses.replace(evaluation, rule=dataclasses.replace(evaluation.rule, limit=limit))


def _name_ranks(values: dict[int, float]) -> dict[str, float]:
    return {f"R@{rank}": value for rank, value in values.items()}


def _name_intervals(values: dict[int, Interval]) -> dict[str, list[float]]:
    return {f"R@{rank}": list(interval) for rank, interval in values.items()}
