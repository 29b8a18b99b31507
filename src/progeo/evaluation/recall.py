"""What a search found, measured: R@N and the error of the first prediction."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from progeo.data.zones import BETWEEN_ZONES
from progeo.errors import ProgeoError
from progeo.evaluation.positives import PUBLISHED_RULE, PositiveRule
from progeo.evaluation.reranking import Reranking
from progeo.search.exact import Floats, Integers, check_finite

RECALL_RANKS = (1, 5, 10, 20)
OTHER_ZONE = "in another UTM zone"
"""In place of a distance in metres, which positions in two zones do not tell."""


def is_measured(error: float) -> bool:
    """Whether an error in metres is a distance, and not one between UTM zones."""
    return error < BETWEEN_ZONES / 2


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a search found, measured by a rule of what is right. Q queries, N database images, k predictions per query.

    A prediction is right where its position and that of its query are at most ``rule.limit`` apart (Euclidean): UTM
    positions in metres, or with other rules frame or place numbers, in the rule's unit. Queries without any positive
    stay in every figure and count as missed, as in the published evaluation.
    """

    predictions: Integers
    """(Q, k) int64, rows of the database, most similar first."""
    errors: Floats
    """(Q, k) float64, distance from each query to each of its predictions, in the rule's unit."""
    nearest_images: Integers
    """(Q,) int64, for each query the row of the database image whose position is nearest."""
    nearest_distances: Floats
    """(Q,) float64, distance from each query to that image: the smallest error possible."""
    database_positions: Floats
    """(N, d) float64, as ``read_coordinates`` gives them: metres, or one frame or place number."""
    query_positions: Floats
    """(Q, d) float64, likewise."""
    rule: PositiveRule
    """What makes a prediction right."""
    descriptor_distances: Floats | None = None
    """(Q, k) float32, distance of the descriptors as ``search`` gives it; None if it was not kept."""
    descriptors_per_second: float | None = None
    """Photos encoded per second, reading them included; None where none was encoded now."""
    encoding_memory_bytes: int | None = None
    """What encoding took at its peak, weights included; None where none was encoded now or nobody tells."""
    recalls_by_dimension: dict[int, float] = field(default_factory=dict)
    """R@1 in percent with the first principal components alone, before re-ranking; empty where a model has none."""
    reranking: Reranking = field(default_factory=Reranking)
    """What re-ranking has changed, and what explains the worst mistakes."""
    rerank: str = "none"
    """Name of the reranker that ordered the predictions; ``none``: the descriptors did, ``own``: one without a name."""

    @property
    def right(self) -> NDArray[np.bool_]:
        """(Q, k) bool: which predictions are right."""
        return self.errors <= self.rule.limit

    @property
    def has_positives(self) -> NDArray[np.bool_]:
        """(Q,) bool: which queries have at least one positive, so that a right prediction exists at all."""
        return self.nearest_distances <= self.rule.limit

    @cached_property
    def recall_curve(self) -> Floats:
        """(k,) float64: R@1 to R@k, the percentage of queries with a right prediction among the first 1 to k."""
        curve: Floats = 100.0 * np.logical_or.accumulate(self.right, axis=1).mean(axis=0)
        return curve

    @property
    def recalls(self) -> dict[int, float]:
        """R@1, R@5, R@10 and R@20 in percent. Ranks beyond k are left out, unless k is the whole database."""
        whole_database = len(self.recall_curve) == len(self.database_positions)
        return {
            rank: float(self.recall_curve[min(rank, len(self.recall_curve)) - 1])
            for rank in RECALL_RANKS
            if rank <= len(self.recall_curve) or whole_database
        }

    @property
    def median_error(self) -> float:
        """Median over the queries of the error of the first prediction, in the rule's unit."""
        return float(np.median(self.errors[:, 0]))

    @property
    def percentile_90_error(self) -> float:
        """90th percentile over the queries of the error of the first prediction, in the rule's unit."""
        return float(np.percentile(self.errors[:, 0], 90))

    @property
    def queries_without_positives(self) -> int:
        """Number of queries without any positive in the database."""
        return int(np.count_nonzero(~self.has_positives))

    @cached_property
    def positive_counts(self) -> Integers:
        """(Q,) int64: how many positives each query has in the database."""
        tree = cKDTree(self.database_positions)
        counts: Integers = tree.query_ball_point(self.query_positions, self.rule.limit, return_length=True)
        return counts

    def is_right(self, predictions: Integers) -> NDArray[np.bool_]:
        """Return which of other predictions, one a query (Q,), are right: (Q,) bool."""
        right: NDArray[np.bool_] = (
            _distances(self.database_positions[predictions], self.query_positions) <= self.rule.limit
        )
        return right

    @property
    def mistakes(self) -> Integers:
        """The queries whose first prediction is wrong though a right one exists, those farthest off first: (M,)."""
        errors = self.errors[:, 0]
        wrong = np.flatnonzero(~self.right[:, 0] & self.has_positives)
        return wrong[np.argsort(-errors[wrong], kind="stable")]

    def positives(self, query: int) -> Integers:
        """Return the rows of the database that are positives of query number ``query``, nearest first: (P,) int64."""
        distances = _distances(self.database_positions, self.query_positions[query])
        rows = np.flatnonzero(distances <= self.rule.limit)
        return rows[np.argsort(distances[rows], kind="stable")]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures alone, for JSON: recalls in percent, errors in metres, counts.

        Errors are null by other rules, and where they lie between UTM zones.
        """
        metric = self.rule.is_metric
        errors = {"median_error": self.median_error, "percentile_90_error": self.percentile_90_error}
        return {
            "recalls": {f"R@{rank}": recall for rank, recall in self.recalls.items()},
            **{f"{name}_metres": error if metric and is_measured(error) else None for name, error in errors.items()},
            "threshold_metres": self.rule.limit if metric else None,
            "positives": str(self.rule),
            "database_images": len(self.database_positions),
            "queries": len(self.query_positions),
            "queries_without_positives": self.queries_without_positives,
        }

    def describe(self) -> str:
        """Return the figures as one line, ``R@1: 45.2, R@5: 60.0, ..., median error: 7.1 m, ...``."""
        recalls = ", ".join(f"R@{rank}: {recall:.1f}" for rank, recall in self.recalls.items())
        if not self.rule.is_metric:
            return recalls
        named = {"median error": self.median_error, "90th percentile": self.percentile_90_error}
        errors = [f"{name}: {f'{error:.1f} m' if is_measured(error) else OTHER_ZONE}" for name, error in named.items()]
        return ", ".join([recalls, *errors])


def measure_recalls(
    predictions: Integers,
    database_positions: Floats,
    query_positions: Floats,
    rule: PositiveRule = PUBLISHED_RULE,
    descriptor_distances: Floats | None = None,
) -> Evaluation:
    """Measure predictions against the positions of the images.

    Args:
        predictions: (Q, k) int64, rows of the database, most similar first, as ``search`` gives them.
        database_positions: (N, d) UTM east and north in metres, or whatever ``read_coordinates`` gives for the rule.
        query_positions: (Q, d), likewise.
        rule: what makes a prediction right; within 25 m in the field.
        descriptor_distances: (Q, k), kept in the result for reports; may be left out.

    Raises:
        ProgeoError: there are no queries or no database images, or a position is NaN or infinite.
        ValueError: shapes that do not belong together, or predictions outside the database.
    """
    database_positions = np.asarray(database_positions, dtype=np.float64)
    query_positions = np.asarray(query_positions, dtype=np.float64)
    for name, positions in (("database image", database_positions), ("query", query_positions)):
        if positions.ndim != 2:
            raise ValueError(f"positions of each {name} have shape {positions.shape}; they must be (images, d)")
        if len(positions) == 0:
            raise ProgeoError(f"There is not a single {name}, so nothing can be measured. Check the folder.")
        check_finite(positions, name, "position", "Check the coordinates in its file name.")
    if predictions.ndim != 2 or len(predictions) != len(query_positions) or predictions.shape[1] == 0:
        raise ValueError(
            f"predictions have shape {predictions.shape}; they must be ({len(query_positions)}, k), k >= 1"
        )
    if predictions.min() < 0 or predictions.max() >= len(database_positions):
        raise ValueError(f"predictions must be rows of the database, 0 to {len(database_positions) - 1}")

    nearest_images = np.asarray(cKDTree(database_positions).query(query_positions)[1], dtype=np.int64)
    return Evaluation(
        predictions=predictions,
        errors=_distances(database_positions[predictions], query_positions[:, None]),
        nearest_images=nearest_images,
        nearest_distances=_distances(database_positions[nearest_images], query_positions),
        database_positions=database_positions,
        query_positions=query_positions,
        rule=rule,
        descriptor_distances=descriptor_distances,
    )


def _distances(positions: Floats, others: Floats) -> Floats:
    """Return the Euclidean distances of positions (..., d), broadcast against each other."""
    offsets = positions - others
    distances: Floats = np.hypot.reduce(offsets, axis=-1)
    return distances
