"""What re-ranking has changed in an evaluation, and what it would change: for the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from progeo.console import format_count
from progeo.search.exact import Integers
from progeo.search.explanation import Explanation

CLEARLY, FEWEST = 1.5, 15
"""So many times as many points as of the wrong photo, and at least so many, are more than chance."""


@dataclass(frozen=True, eq=False)
class Reranking:
    """The predictions before re-ranking, and the points that agree."""

    before: Integers | None = None
    """(Q, k) predictions in the order of the descriptors; None where they stayed in it."""
    explanations: Mapping[tuple[int, int], Explanation] = field(default_factory=dict)
    """By the query and the row of the database; only of the worst mistakes."""


def describe_mistake(reranking: Reranking, query: int, predictions: Integers, is_right: Integers) -> str:
    """Return in one sentence where the first right prediction of a wrong query is, and what re-ranking does to it.

    Args:
        reranking: of the evaluation.
        query: its number.
        predictions: (k,) rows of the database, best first.
        is_right: (N',) rows of the database that are right, of those predicted.
    """
    right = np.isin(predictions, is_right)
    if not right.any():
        where = f"none of the {len(predictions)} predictions is right"
        return f"{where}, and re-ranking can only put what is found into another order"
    rank = int(right.argmax())
    where = f"the first right prediction has rank {rank + 1}"
    if reranking.before is not None:
        rank_before = int(np.isin(reranking.before[query], is_right).argmax())
        if rank_before == 0:
            return f"{where}; without re-ranking it would be the first"
        if rank_before == rank:
            return f"{where}, and re-ranking did not change that"
        return f"{where}; without re-ranking it would have rank {rank_before + 1}"
    first, best = (reranking.explanations.get((query, int(predictions[row]))) for row in (0, rank))
    if first is None or best is None:
        return f"{where}; re-ranking may put it first"
    of_best, of_first = len(best.points), len(first.points)
    clearly = of_best >= max(CLEARLY * of_first, FEWEST)
    verdict = "would probably have helped" if clearly else "would hardly have helped"
    details = f"{format_count(of_best, 'detail')} of it fit the query, and {of_first:,} of the first prediction"
    return f"{where}; re-ranking {verdict}: {details}"


def count_changes(right_before: NDArray[np.bool_], right_after: NDArray[np.bool_]) -> str:
    """Return in one sentence what re-ranking has changed of the first predictions, (Q,) bool each."""
    better, worse = int((right_after & ~right_before).sum()), int((right_before & ~right_after).sum())
    before = 100 * float(right_before.mean())
    return (
        f"Re-ranking made {better:,} first predictions right and {worse:,} wrong; by the descriptors alone R@1 is "
        f"{before:.1f} %."
    )
