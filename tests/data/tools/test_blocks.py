from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from progeo.data.tools.blocks import (
    NO_PART,
    TEST,
    TRAIN,
    VAL,
    Floats,
    draw_parts,
    draw_until,
    make_blocks,
    separate,
)

SHARES = (0.8, 0.1, 0.1)


def grid_town(side: int = 20, step: float = 25) -> Floats:
    """Photos at every crossing of a town of ``side`` by ``side`` streets."""
    east, north = np.meshgrid(np.arange(side) * step, np.arange(side) * step)
    return np.column_stack([east.ravel(), north.ravel(), np.zeros(side * side)])


towns = st.lists(st.tuples(st.floats(0, 2000), st.floats(0, 2000), st.just(0.0)), min_size=3, max_size=60).map(np.array)


@settings(max_examples=10)
@given(towns, st.floats(0, 300), st.floats(5, 200), st.integers(0, 5))
def test_parts_are_apart(points: Floats, buffer: float, cell: float, seed: int) -> None:
    parts = draw_parts(points, SHARES, buffer=buffer, cell=cell, seed=seed)
    for part, other in ((TRAIN, VAL), (TRAIN, TEST), (VAL, TEST)):
        if (parts == part).any() and (parts == other).any():
            assert cdist(points[parts == part], points[parts == other]).min() >= buffer
    np.testing.assert_array_equal(parts, draw_parts(points, SHARES, buffer=buffer, cell=cell, seed=seed))


@given(towns, st.floats(1, 300), st.floats(5, 200))
def test_cells_stay_together(points: Floats, buffer: float, cell: float) -> None:
    blocks = make_blocks(points, buffer=buffer, cell=cell, largest=3)
    cells = np.floor(points / cell)
    same_cell = (cells[:, None] == cells[None]).all(axis=2)
    near = cdist(points, points) < buffer
    assert (blocks[:, None] == blocks[None])[same_cell & near].all()


def test_shares_are_met_in_a_town_and_the_seed_chooses_the_places() -> None:
    points = grid_town()
    parts = draw_parts(points, SHARES, buffer=30, cell=50, seed=0)
    counts = np.bincount(parts[parts != NO_PART], minlength=3) / len(points)
    assert counts[TRAIN] > 0.6
    assert counts[VAL:] == pytest.approx([0.1, 0.1], abs=0.04)
    assert (parts != draw_parts(points, SHARES, buffer=30, cell=50, seed=1)).any()


def test_places_with_gaps_cost_no_photos() -> None:
    points = np.repeat(np.arange(20.0), 5)[:, None] * [1000.0, 0.0, 0.0]
    parts = draw_parts(points, SHARES, buffer=100, cell=10, seed=0)
    assert np.bincount(parts).tolist() == [80, 10, 10]


def test_large_sets_are_weighed_by_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("progeo.data.tools.blocks.MOST_WEIGHED", 50)
    parts = draw_parts(grid_town(), SHARES, buffer=30, cell=50, seed=0)
    assert np.bincount(parts[parts != NO_PART], minlength=3).all()


def test_train_goes_before_val_and_val_before_test() -> None:
    points = np.array([[0.0, 0, 0], [10, 0, 0], [20, 0, 0], [30, 0, 0], [40, 0, 0]])
    assert separate(points, np.array([TRAIN, TRAIN, VAL, VAL, TEST]), 15).tolist() == [
        TRAIN,
        NO_PART,
        VAL,
        NO_PART,
        TEST,
    ]


def test_draws_come_near_to_what_is_wanted() -> None:
    generator = np.random.default_rng(0)
    assert draw_until(np.array([5, 5, 5, 5]), 10, generator).sum() == 2
    assert draw_until(np.array([50, 40]), 10, generator).tolist() == [False, True]
    assert draw_until(np.array([], dtype=np.int64), 10, generator).tolist() == []
