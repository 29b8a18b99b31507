"""Putting the photos that a search found into a better order, by more than their descriptors.

Every search goes ``search -> rerank``: that of an evaluation, and that of a place database. So the recall that is
measured is the recall that is had.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from progeo.pixels.prefetch import read_ahead
from progeo.search.exact import Floats, Integers

Pixels = NDArray[np.uint8]


Query = Callable[[], Pixels]
"""Gives the pixels of a query as the model takes them, uint8 (H, W, 3), when they are asked for."""


@dataclass(frozen=True, eq=False)
class Verification:
    """What local features say of one query's k candidates, in the order of the descriptors; plain data.

    Candidates that were not compared have no inliers, no strength and no coverage: all 0.
    """

    order: Integers
    """(k,) positions of the candidates, best first."""
    distances: Floats
    """(k,) half the squared descriptor distances less what the points are worth, from 0 on: what orders the candidates
    and weighs their votes."""
    inliers: Integers
    """(k,) points that agree with one geometry; of several methods, of the one that says most."""
    strength: Floats
    """(k,) those points as a multiple of the floor, which hardly any wrong pair of this database reaches; NaN where no
    floor is known."""
    coverage: Floats
    """(k,) share of the query's picture, 0 to 1, that they surround."""


class Reranker(Protocol):
    """Orders the k candidates of one query anew."""

    def __call__(self, query: Query, candidates: Sequence[str], distances: Floats) -> Integers | Verification:
        """Return the positions of the candidates, best first: (n,) int64, n at most k; those left out are dropped.

        A reranker that verifies returns a ``Verification``, which has the positions of all.

        Args:
            query: gives the query's pixels as the model takes them, uint8 (H, W, 3); only called by rerankers that
                look at them.
            candidates: the paths of the k photos found, most similar first.
            distances: (k,) float32, the Euclidean distances of their descriptors from that of the query, rising.
        """


def no_rerank(query: Query, candidates: Sequence[str], distances: Floats) -> Integers:
    """Keep the order of the descriptors."""
    return np.arange(len(candidates))


def rerank_all(
    rerank: Reranker,
    queries: Sequence[Query],
    paths: Sequence[str],
    distances: Floats,
    rows: Integers,
    *,
    num_workers: int | None = 0,
    advance: Callable[[], object] = lambda: None,
) -> tuple[Floats, Integers]:
    """Rerank what ``search`` found for several queries.

    Args:
        rerank: the reranker. ``no_rerank`` costs nothing.
        queries: Q functions, each giving the pixels of a query.
        paths: N paths of the photos of the database.
        distances: (Q, k) float32, as ``search`` gives them.
        rows: (Q, k) int64, rows of the database.
        num_workers: threads, as in ``read_ahead``; each reranks one query at a time.
        advance: called after each query.

    Returns:
        Distances and rows in the new order, both (Q, k). Photos that the reranker left out come last, in their order.
    """
    if rerank is no_rerank:
        return distances, rows

    def order_one(number: int) -> Integers:
        found = rerank(queries[number], [paths[row] for row in rows[number]], distances[number])
        first = found.order if isinstance(found, Verification) else found
        return np.concatenate([first, np.setdiff1d(np.arange(rows.shape[1]), first)])

    order = np.empty_like(rows)
    for number, of_query in enumerate(read_ahead(order_one, range(len(queries)), num_workers=num_workers)):
        order[number] = of_query
        advance()
    return np.take_along_axis(distances, order, axis=1), np.take_along_axis(rows, order, axis=1)
