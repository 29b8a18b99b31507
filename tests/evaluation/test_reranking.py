"""What the report says of re-ranking."""

from __future__ import annotations

import numpy as np
import pytest

from progeo.evaluation.reranking import Reranking, count_changes, describe_mistake
from progeo.search.explanation import Explanation
from progeo.search.keypoints import PointMatches

PREDICTIONS, RIGHT = np.array([4, 7, 2]), np.array([2, 9])


def explain(count: int) -> Explanation:
    points = np.zeros((count, 2), np.float32)
    return Explanation(PointMatches(points, points), None)


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ([2, 4, 7], "rank 3; without re-ranking it would be the first"),
        ([4, 2, 7], "rank 3; without re-ranking it would have rank 2"),
        ([7, 4, 2], "rank 3, and re-ranking did not change that"),
    ],
)
def test_what_it_did(before: list[int], words: str) -> None:
    found = describe_mistake(Reranking(np.array([before])), 0, PREDICTIONS, RIGHT)
    assert found.endswith(words)


def test_what_it_would_do() -> None:
    def describe(of_right: int, of_first: int) -> str:
        return describe_mistake(
            Reranking(None, {(0, 2): explain(of_right), (0, 4): explain(of_first)}), 0, PREDICTIONS, RIGHT
        )

    assert "would probably have helped: 84 details of it fit the query, and 12 of the first" in describe(84, 12)
    assert "would hardly have helped: 1 detail of it" in describe(1, 12)
    assert describe_mistake(Reranking(), 0, PREDICTIONS, RIGHT).endswith("re-ranking may put it first")
    nothing = describe_mistake(Reranking(), 0, PREDICTIONS, np.array([9]))
    assert nothing.startswith("none of the 3 predictions is right, and re-ranking can only")


def test_changes_are_counted() -> None:
    found = count_changes(np.array([True, True, False, False]), np.array([True, False, True, True]))
    assert "made 2 first predictions right and 1 wrong" in found and "R@1 is 50.0 %" in found
