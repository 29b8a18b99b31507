"""Exact search among descriptors, in memory or chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from progeo.errors import ProgeoError

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]


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
    return search_chunks([database_descriptors], query_descriptors, k)


def search_chunks(database_chunks: Iterable[Floats], query_descriptors: Floats, k: int) -> tuple[Floats, Integers]:
    """Search like ``search``, as exactly, in a database that comes in chunks (n, D), of which one is held at a time."""
    import faiss

    if k < 1:
        raise ValueError(f"k is {k}; it must be at least 1")
    _check_descriptors(query_descriptors, "queries", "query")
    distances = np.empty((len(query_descriptors), 0), dtype=np.float32)
    predictions = np.empty((len(query_descriptors), 0), dtype=np.int64)
    start = 0
    for chunk in database_chunks:
        _check_descriptors(chunk, "database", "database image", start)
        if chunk.shape[1] != query_descriptors.shape[1]:
            raise ProgeoError(
                f"The database has descriptors of {chunk.shape[1]} dimensions, the queries of "
                f"{query_descriptors.shape[1]}; both must come from the same model."
            )
        if len(chunk) and len(query_descriptors):
            squared, rows = faiss.knn(query_descriptors, chunk, min(k, len(chunk)), metric=faiss.METRIC_L2)
            # Rounding can leave a squared distance just below zero.
            distances = np.concatenate([distances, np.sqrt(np.maximum(squared, 0.0))], axis=1)
            predictions = np.concatenate([predictions, rows + start], axis=1)
            order = np.lexsort((predictions, distances), axis=1)[:, :k]
            distances = np.take_along_axis(distances, order, axis=1)
            predictions = np.take_along_axis(predictions, order, axis=1)
        start += len(chunk)
    if start == 0:
        raise ProgeoError("The database has no descriptors, so there is nothing to search in. Check its folder.")
    if len(query_descriptors) == 0:
        return np.empty((0, min(k, start)), dtype=np.float32), np.empty((0, min(k, start)), dtype=np.int64)
    return distances, predictions


def _check_descriptors(descriptors: Floats, part: str, owner: str, start: int = 0) -> None:
    """Raise ProgeoError where descriptors are no table of finite numbers; ``start`` is the number of the first one."""
    if descriptors.ndim != 2:
        raise ProgeoError(
            f"The descriptors of the {part} have shape {descriptors.shape}; they must be (images, dimensions)."
        )
    advice = "A damaged model gives such values; try another one."
    check_finite(descriptors, owner, "descriptor", advice, start)


def check_finite(values: Floats, owner: str, what: str, advice: str, first: int = 0) -> None:
    """Raise ProgeoError naming the first row of ``values`` that holds NaN or infinity, without a mask of the whole."""
    block = 65536
    for start in range(0, len(values), block):
        bad = np.flatnonzero(~np.isfinite(values[start : start + block]).all(axis=1))
        if len(bad):
            number = first + start + bad[0]
            raise ProgeoError(f"The {what} of {owner} number {number} (from 0) holds NaN or infinity. {advice}")
