"""Putting the photos that a search found into a better order, by more than their descriptors.

Every search goes ``search -> rerank``: that of an evaluation, and that of a place database. So the recall that is
measured is the recall that is had.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from progeo.search.exact import Floats, Integers

Pixels = NDArray[np.uint8]


class Reranker(Protocol):
    """Orders the k candidates of one query anew."""

    def __call__(self, query: Callable[[], Pixels], candidates: Sequence[str], distances: Floats) -> Integers:
        """Return the positions of the candidates, best first: (n,) int64, n at most k; those left out are dropped.

        Args:
            query: gives the query's pixels as the model takes them, uint8 (H, W, 3); only called by rerankers that
                look at them.
            candidates: the paths of the k photos found, most similar first.
            distances: (k,) float32, the Euclidean distances of their descriptors from that of the query, rising.
        """


def no_rerank(query: Callable[[], Pixels], candidates: Sequence[str], distances: Floats) -> Integers:
    """Keep the order of the descriptors."""
    return np.arange(len(candidates))


def rerank_all(
    rerank: Reranker,
    queries: Sequence[Callable[[], Pixels]],
    paths: Sequence[str],
    distances: Floats,
    rows: Integers,
) -> tuple[Floats, Integers]:
    """Rerank what ``search`` found for several queries.

    Args:
        rerank: the reranker. ``no_rerank`` costs nothing.
        queries: Q functions, each giving the pixels of a query.
        paths: N paths of the photos of the database.
        distances: (Q, k) float32, as ``search`` gives them.
        rows: (Q, k) int64, rows of the database.

    Returns:
        Distances and rows in the new order, both (Q, k). Photos that the reranker left out come last, in their order.
    """
    if rerank is no_rerank:
        return distances, rows
    order = np.empty_like(rows)
    for number, query in enumerate(queries):
        first = rerank(query, [paths[row] for row in rows[number]], distances[number])
        order[number] = np.concatenate([first, np.setdiff1d(np.arange(rows.shape[1]), first)])
    return np.take_along_axis(distances, order, axis=1), np.take_along_axis(rows, order, axis=1)
