"""Exact search among descriptors, and its figures: R@N and the error in metres of the first prediction."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from progeo.errors import ProgeoError

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]

RECALL_RANKS = (1, 5, 10, 20)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a search found, measured on the ground. Q queries, N database images, k predictions per query.

    A prediction is right within ``threshold`` metres of its query (at most; Euclidean distance of UTM positions).
    Queries without any positive stay in every figure and count as missed, as in the published evaluation.
    """

    predictions: Integers
    """(Q, k) int64, rows of the database, most similar first."""
    errors: Floats
    """(Q, k) float64, distance in metres from each query to each of its predictions."""
    nearest_images: Integers
    """(Q,) int64, for each query the row of the database image that lies nearest to it on the ground."""
    nearest_distances: Floats
    """(Q,) float64, distance in metres from each query to that image: the smallest error possible."""
    database_positions: Floats
    """(N, 2) float64, UTM east and north in metres."""
    query_positions: Floats
    """(Q, 2) float64, UTM east and north in metres."""
    threshold: float
    """Metres within which a prediction is right."""
    descriptor_distances: Floats | None = None
    """(Q, k) float32, distance of the descriptors as ``search`` gives it; None if it was not kept."""

    @property
    def right(self) -> NDArray[np.bool_]:
        """(Q, k) bool: which predictions are right."""
        return self.errors <= self.threshold

    @property
    def has_positives(self) -> NDArray[np.bool_]:
        """(Q,) bool: which queries have at least one positive, so that a right prediction exists at all."""
        return self.nearest_distances <= self.threshold

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
        """Median over the queries of the error of the first prediction, in metres."""
        return float(np.median(self.errors[:, 0]))

    @property
    def percentile_90_error(self) -> float:
        """90th percentile over the queries of the error of the first prediction, in metres."""
        return float(np.percentile(self.errors[:, 0], 90))

    @property
    def queries_without_positives(self) -> int:
        """Number of queries with no database image within the threshold."""
        return int(np.count_nonzero(~self.has_positives))

    def positives(self, query: int) -> Integers:
        """Return the rows of the database within the threshold of query number ``query``, nearest first: (P,) int64."""
        distances = _ground_distances(self.database_positions, self.query_positions[query])
        rows = np.flatnonzero(distances <= self.threshold)
        return rows[np.argsort(distances[rows], kind="stable")]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures alone, as numbers that JSON can hold: recalls in percent, errors in metres, counts."""
        return {
            "recalls": {f"R@{rank}": recall for rank, recall in self.recalls.items()},
            "median_error_metres": self.median_error,
            "percentile_90_error_metres": self.percentile_90_error,
            "threshold_metres": self.threshold,
            "database_images": len(self.database_positions),
            "queries": len(self.query_positions),
            "queries_without_positives": self.queries_without_positives,
        }

    def describe(self) -> str:
        """Return the figures as one line, ``R@1: 45.2, R@5: 60.0, ..., median error: 7.1 m, ...``."""
        recalls = ", ".join(f"R@{rank}: {recall:.1f}" for rank, recall in self.recalls.items())
        errors = f"median error: {self.median_error:.1f} m, 90th percentile: {self.percentile_90_error:.1f} m"
        return f"{recalls}, {errors}"


def search(database_descriptors: Floats, query_descriptors: Floats, k: int = 20) -> tuple[Floats, Integers]:
    """Find the ``k`` database descriptors nearest to each query descriptor, exactly (L2).

    Args:
        database_descriptors: (N, D) float32, used where it lies; another dtype or memory order is copied once.
        query_descriptors: (Q, D) float32. No queries are allowed and give empty results.
        k: predictions per query, at least 1; a database of fewer images gives as many as it has.

    Returns:
        Euclidean distances (Q, min(k, N)) float32 and rows of the database (Q, min(k, N)) int64, nearest first; among
        those found, equal distances are in the order of the database.

    Raises:
        ProgeoError: the database is empty, the two do not have the same dimension, or a value is NaN or infinite.
    """
    if k < 1:
        raise ValueError(f"k is {k}; it must be at least 1")
    for name, descriptors in (("database", database_descriptors), ("queries", query_descriptors)):
        if descriptors.ndim != 2:
            raise ProgeoError(
                f"The descriptors of the {name} have shape {descriptors.shape}; they must be (images, dimensions)."
            )
    if database_descriptors.shape[1] != query_descriptors.shape[1]:
        raise ProgeoError(
            f"The database has descriptors of {database_descriptors.shape[1]} dimensions, the queries of "
            f"{query_descriptors.shape[1]}; both must come from the same model."
        )
    if len(database_descriptors) == 0:
        raise ProgeoError("The database has no descriptors, so there is nothing to search in. Check its folder.")
    _check_finite(
        database_descriptors, "database image", "descriptor", "A damaged model gives such values; try another one."
    )
    _check_finite(query_descriptors, "query", "descriptor", "A damaged model gives such values; try another one.")

    k = min(k, len(database_descriptors))
    if len(query_descriptors) == 0:
        return np.empty((0, k), dtype=np.float32), np.empty((0, k), dtype=np.int64)
    squared, predictions = faiss.knn(query_descriptors, database_descriptors, k, metric=faiss.METRIC_L2)
    # Rounding can leave a squared distance just below zero.
    distances = np.sqrt(np.maximum(squared, 0.0))
    order = np.lexsort((predictions, distances), axis=1)
    return np.take_along_axis(distances, order, axis=1), np.take_along_axis(predictions, order, axis=1)


def measure_recalls(
    predictions: Integers,
    database_positions: Floats,
    query_positions: Floats,
    threshold: float = 25.0,
    descriptor_distances: Floats | None = None,
) -> Evaluation:
    """Measure predictions against the positions of the images.

    Args:
        predictions: (Q, k) int64, rows of the database, most similar first, as ``search`` gives them.
        database_positions: (N, 2) UTM east and north in metres.
        query_positions: (Q, 2) UTM east and north in metres.
        threshold: metres within which (at most) a prediction is right; 25 in the field.
        descriptor_distances: (Q, k), kept in the result for reports; may be left out.

    Raises:
        ProgeoError: there are no queries or no database images, or a position is NaN or infinite.
        ValueError: shapes that do not belong together, or predictions outside the database.
    """
    database_positions = np.asarray(database_positions, dtype=np.float64)
    query_positions = np.asarray(query_positions, dtype=np.float64)
    for name, positions in (("database image", database_positions), ("query", query_positions)):
        if positions.ndim != 2 or positions.shape[1] != 2:
            raise ValueError(f"positions of each {name} have shape {positions.shape}; they must be (images, 2)")
        if len(positions) == 0:
            raise ProgeoError(f"There is not a single {name}, so nothing can be measured. Check the folder.")
        _check_finite(positions, name, "position", "Check the coordinates in its file name.")
    if predictions.ndim != 2 or len(predictions) != len(query_positions) or predictions.shape[1] == 0:
        raise ValueError(
            f"predictions have shape {predictions.shape}; they must be ({len(query_positions)}, k), k >= 1"
        )
    if predictions.min() < 0 or predictions.max() >= len(database_positions):
        raise ValueError(f"predictions must be rows of the database, 0 to {len(database_positions) - 1}")

    nearest_images = np.asarray(cKDTree(database_positions).query(query_positions)[1], dtype=np.int64)
    return Evaluation(
        predictions=predictions,
        errors=_ground_distances(database_positions[predictions], query_positions[:, None]),
        nearest_images=nearest_images,
        nearest_distances=_ground_distances(database_positions[nearest_images], query_positions),
        database_positions=database_positions,
        query_positions=query_positions,
        threshold=float(threshold),
        descriptor_distances=descriptor_distances,
    )


def _ground_distances(positions: Floats, others: Floats) -> Floats:
    """Return the Euclidean distances in metres of UTM positions (..., 2), broadcast against each other."""
    offsets = positions - others
    distances: Floats = np.hypot(offsets[..., 0], offsets[..., 1])
    return distances


def _check_finite(values: Floats, owner: str, what: str, advice: str) -> None:
    """Raise ProgeoError naming the first row of ``values`` that holds NaN or infinity, without a mask of the whole."""
    block = 65536
    for start in range(0, len(values), block):
        bad = np.flatnonzero(~np.isfinite(values[start : start + block]).all(axis=1))
        if len(bad):
            raise ProgeoError(f"The {what} of {owner} number {start + bad[0]} (from 0) holds NaN or infinity. {advice}")
