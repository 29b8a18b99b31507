"""Recall against dimension: what the first principal components of a fitted model find alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from progeo.evaluation.positives import PositiveRule
from progeo.evaluation.recall import measure_recalls
from progeo.models.spec import ModelSpec
from progeo.search.exact import Floats, search_chunks

FEWEST = 32


def choose_dimensions(spec: ModelSpec) -> list[int]:
    """Return the dimensions worth a look, ascending, the last one all; none where the model has no components.

    Principal components come in order of variance, so that the first d of a descriptor, at length 1, are the
    descriptor of a model fitted to d dimensions.
    """
    if spec.head != "pca":
        return []
    smaller = (FEWEST << step for step in range(spec.descriptor_dim.bit_length()))
    return [*(d for d in smaller if d < spec.descriptor_dim), spec.descriptor_dim]


def measure_dimensions(
    dimensions: Iterable[int],
    read_chunks: Callable[[], Iterable[Floats]],
    query_descriptors: Floats,
    positions: tuple[Floats, Floats],
    rule: PositiveRule,
) -> dict[int, float]:
    """Return R@1 in percent by dimension, before re-ranking.

    Args:
        dimensions: how many leading components to search with, each in turn.
        read_chunks: gives the descriptors (n, D) of the database in chunks, from the first on, at each call.
        query_descriptors: (Q, D).
        positions: of the database (N, d) and of the queries (Q, d), as ``read_coordinates`` gives them.
        rule: what makes a prediction right.
    """

    def measure(count: int) -> float:
        chunks = (shorten(chunk, count) for chunk in read_chunks())
        _, predictions = search_chunks(chunks, shorten(query_descriptors, count), 1)
        return measure_recalls(predictions, *positions, rule).recalls[1]

    return {count: measure(count) for count in dimensions}


def shorten(descriptors: Floats, count: int) -> Floats:
    """Return the first ``count`` values (n, count) of descriptors (n, D), each row at length 1."""
    first = np.ascontiguousarray(descriptors[:, :count], dtype=np.float32)
    length = np.linalg.norm(first, axis=1, keepdims=True)
    shortened: Floats = first / np.maximum(length, 1e-12)
    return shortened
