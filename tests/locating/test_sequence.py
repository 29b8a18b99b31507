"""Photos along a path: jumps are left out, gaps are filled in."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from progeo.data.sphere import EARTH_RADIUS, Floats, measure_distances, to_points
from progeo.locating.sequence import SLACK, find_path, measure_intervals

METRE = float(np.degrees(1 / EARTH_RADIUS))


def matches_at(*metres: float) -> pl.DataFrame:
    """Matches on a line to the north, the most similar first, all nearly alike."""
    return pl.DataFrame(
        {
            "latitude": [45 + METRE * at for at in metres],
            "longitude": [9.0] * len(metres),
            "descriptor_distance": [0.5 + 0.01 * number for number in range(len(metres))],
        }
    )


def walk(path: Floats) -> list[int]:
    start = to_points(np.array(45.0), np.array(9.0))
    return [round(float(metres)) for metres in measure_distances(path, start)]


def test_a_match_that_cannot_be_reached_gives_way_to_one_that_can() -> None:
    matches = [matches_at(0), matches_at(10), matches_at(3000, 20, 5000), matches_at(30), matches_at(40)]
    assert walk(find_path(matches, np.ones(5), max_speed=15)) == [0, 10, 20, 30, 40]


def test_a_photo_that_fits_nowhere_lies_between_its_neighbours() -> None:
    matches = [matches_at(0), matches_at(10), matches_at(3000, 3010), matches_at(60), matches_at(70)]
    intervals = np.array([0.0, 1.0, 1.0, 4.0, 1.0])
    assert walk(find_path(matches, intervals, max_speed=15)) == [0, 10, 20, 60, 70]


def test_photos_that_fit_nowhere_at_the_ends_stay_with_their_neighbours() -> None:
    matches = [matches_at(9000), matches_at(0), matches_at(10), matches_at(20), matches_at(7000)]
    assert walk(find_path(matches, np.ones(5), max_speed=15)) == [0, 0, 10, 20, 20]


def test_more_time_allows_more_distance() -> None:
    matches = [matches_at(0), matches_at(2000, 100, 9000)]
    assert walk(find_path(matches, np.array([0.0, 10.0]), max_speed=15)) == [0, 100]
    assert walk(find_path(matches, np.array([0.0, 200.0]), max_speed=15)) == [0, 2000]


@pytest.mark.parametrize("seed", range(5))
def test_no_step_is_faster_than_allowed(seed: int) -> None:
    generator = np.random.default_rng(seed)
    matches = [matches_at(*generator.uniform(0, 2000, 8)) for _ in range(40)]
    path = find_path(matches, np.ones(40), max_speed=15)
    assert (measure_distances(path[1:], path[:-1]) <= 15 + SLACK + 1).all()


def test_one_photo_is_a_path() -> None:
    assert walk(find_path([matches_at(30, 40)], np.zeros(1), max_speed=15)) == [30]


def test_intervals_follow_the_times_and_are_a_second_where_these_say_nothing() -> None:
    noon = datetime(2024, 5, 31, 12)
    times = [noon, noon + timedelta(seconds=4), None, noon, noon, noon - timedelta(seconds=5)]
    assert measure_intervals(times).tolist() == [0, 4, 1, 1, 1, 1]
    assert measure_intervals([]).tolist() == []
