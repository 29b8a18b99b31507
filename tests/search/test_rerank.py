"""Reranking: what a reranker is given, and what becomes of its order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from progeo.search.rerank import no_rerank, rerank_all

DISTANCES = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], dtype=np.float32)
ROWS = np.array([[5, 0, 2], [1, 3, 4]])
PATHS = [f"{number}.jpg" for number in range(6)]


def test_nothing_is_read_where_nothing_is_reranked() -> None:
    def query() -> Any:
        pytest.fail("pixels are not needed")

    distances, rows = rerank_all(no_rerank, [query, query], PATHS, DISTANCES, ROWS)
    assert distances is DISTANCES
    assert rows is ROWS
    assert no_rerank(query, PATHS[:3], DISTANCES[0]).tolist() == [0, 1, 2]


def test_distances_go_with_their_photos_and_those_left_out_come_last() -> None:
    asked = []

    def rerank(query: Callable[[], Any], candidates: Sequence[str], distances: Any) -> Any:
        asked.append((query().shape, list(candidates), distances.tolist()))
        return np.array([2, 0]) if len(asked) == 1 else np.array([1, 2, 0])

    queries = [lambda: np.zeros((4, 6, 3), np.uint8), lambda: np.zeros((8, 2, 3), np.uint8)]
    distances, rows = rerank_all(rerank, queries, PATHS, DISTANCES, ROWS)
    assert rows.tolist() == [[2, 5, 0], [3, 4, 1]]
    np.testing.assert_array_equal(distances, np.array([[0.3, 0.1, 0.2], [0.5, 0.6, 0.4]], dtype=np.float32))
    assert [call[:2] for call in asked] == [
        ((4, 6, 3), ["5.jpg", "0.jpg", "2.jpg"]),
        ((8, 2, 3), ["1.jpg", "3.jpg", "4.jpg"]),
    ]
