from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from progeo.data.tools.blocks import Floats
from progeo.data.tools.roles import DATABASE, NO_ROLE, QUERIES, draw_roles, find_sessions


def street(photos: int, step: float = 10, north: float = 0) -> Floats:
    return np.column_stack([np.arange(photos) * step, np.full(photos, north), np.zeros(photos)])


@given(
    st.lists(st.tuples(st.floats(0, 300), st.floats(0, 300), st.just(0.0)), min_size=2, max_size=40).map(np.array),
    st.floats(0.1, 0.9),
    st.integers(0, 5),
    st.booleans(),
)
def test_every_query_has_a_positive(points: Floats, share: float, seed: int, timed: bool) -> None:
    sessions = np.arange(len(points)) % 3 if timed else None
    roles, by_session = draw_roles(points, sessions, share, 25, seed)
    queries, database = points[roles == QUERIES], points[roles == DATABASE]
    if len(queries):
        assert (cdist(queries, database).min(axis=1) <= 25).all()
    if by_session:
        assert sessions is not None
        assert not set(sessions[roles == QUERIES]) & set(sessions[roles == DATABASE])
    else:
        assert (roles != NO_ROLE).all()


def test_days_that_overlap_are_kept_together() -> None:
    points = np.concatenate([street(50, north=day) for day in range(5)])
    roles, by_session = draw_roles(points, np.repeat(np.arange(5), 50), 0.2, 25, seed=0)
    assert by_session
    assert sorted((roles.reshape(5, 50) == QUERIES).sum(axis=1)) == [0, 0, 0, 0, 50]


def test_photos_of_a_query_day_without_others_near_get_no_role() -> None:
    points = np.concatenate([street(60), street(30)])
    roles, by_session = draw_roles(points, np.repeat([0, 1], [60, 30]), 0.6, 25, seed=0)
    assert by_session
    assert (roles[60:] == DATABASE).all()
    assert [int((roles[:60] == role).sum()) for role in (QUERIES, NO_ROLE)] == [32, 28]


def test_days_that_do_not_overlap_give_way_to_single_photos() -> None:
    points = np.concatenate([street(50), street(50, north=1000)])
    roles, by_session = draw_roles(points, np.repeat([0, 1], 50), 0.2, 25, seed=0)
    assert not by_session
    assert (roles == QUERIES).sum() == 20


def test_photos_far_from_each_other_give_no_queries() -> None:
    roles, _ = draw_roles(street(10, step=100), None, 0.2, 25, seed=0)
    assert (roles == DATABASE).all()


@pytest.mark.parametrize(
    ("times", "sequences", "expected"),
    [
        (["2023-04-06T10:00:00", "2023-04-06T23:00:00", "2023-04-07"], None, [0, 0, 1]),
        (["2023-04", "2023-05", "2023"], None, [1, 2, 0]),
        (["9h31", "2h24", "2023"], None, None),
        (["2023", "2023", "2023"], None, None),
        ([None, None, None], ["a", "b", "a"], [0, 1, 0]),
        ([None, None, None], ["a", None, "a"], None),
    ],
)
def test_sessions(times: list[str | None], sequences: list[str | None] | None, expected: list[int] | None) -> None:
    table = pl.DataFrame({"timestamp": times}, schema={"timestamp": pl.String})
    if sequences:
        table = table.with_columns(sequence=pl.Series(sequences))
    sessions = find_sessions(table)
    assert (sessions if sessions is None else sessions.tolist()) == expected
