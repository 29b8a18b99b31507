from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from progeo.data.geodesy import choose_zone
from progeo.data.positions import into_zone
from progeo.data.track import add_headings_from_track, find_course
from progeo.errors import ProgeoError


def course(positions: list[tuple[float, float]], seconds: list[float] | None = None) -> list[float]:
    times = np.arange(len(positions), dtype=float) if seconds is None else np.array(seconds, float)
    return find_course(np.array(positions, float), times, np.arange(len(positions)) == 0).round(6).tolist()


def test_course_goes_from_the_photo_before_to_the_one_after() -> None:
    assert course([(0, 0), (0, 10), (10, 10), (10, 0)]) == [0, 45, 135, 180]


def test_standing_still_keeps_the_heading() -> None:
    assert course([(0, 0), (10, 0), (10.1, 0), (10.1, 0.1), (10.2, 10)])[1:4] == pytest.approx([90, 90, 0.6], abs=0.1)
    assert course([(0, 0), (0.1, 0), (0.1, 0), (-10, 0)]) == [270, 270, 270, 270]


def test_leaps_in_space_or_time_are_no_way() -> None:
    far = course([(0, 0), (0, 10), (500, 10), (510, 10)])
    late = course([(0, 0), (0, 10), (10, 10), (20, 10)], [0, 1, 1000, 1001])
    assert far == late == [0, 0, 90, 90]
    assert np.isnan(course([(0, 0), (500, 0)])).all()


def table(**columns: list[Any]) -> pl.DataFrame:
    length = len(columns["timestamp"])
    return pl.DataFrame(
        {"path": [f"{k}.jpg" for k in range(length)], "heading": [None] * length}
        | dict.fromkeys(("latitude", "longitude", "utm_zone"), [None] * length)
        | columns,
        schema_overrides={"heading": pl.Float64, "utm_east": pl.Float64, "utm_north": pl.Float64},
    )


def test_photos_are_put_in_order_of_time_within_their_sequence() -> None:
    times = [f"2023-04-06T10:00:0{second}" for second in (2, 1, 1, 2)]
    photos = table(utm_east=[0, 0, 5, 15], utm_north=[10, 0, 0, 0], timestamp=times, sequence=["a", "a", "b", "b"])
    assert add_headings_from_track(photos)["heading"].to_list() == [0, 0, 90, 90]


def test_headings_that_are_there_stay() -> None:
    times = [f"2023-04-06T10:00:0{second}" for second in (1, 2)]
    photos = table(utm_east=[0, 10], utm_north=[0, 0], timestamp=times, heading=[33.0, None])
    assert add_headings_from_track(photos)["heading"].to_list() == [33, 90]


def test_time_without_seconds_is_refused() -> None:
    photos = table(utm_east=[0, 10], utm_north=[0, 0], timestamp=["2023-04-06", None])
    with pytest.raises(ProgeoError, match=r"time of each photo to the second, and 2 of 2 .* first 0\.jpg"):
        add_headings_from_track(photos)


@pytest.mark.parametrize(("latitude", "longitude"), [(60.39, 5.32), (-33.86, 151.2), (59.33, 18.07), (-1.29, 36.82)])
def test_headings_count_from_true_north(latitude: float, longitude: float) -> None:
    way = table(timestamp=[f"2023-04-06T10:00:0{second}" for second in range(3)]).with_columns(
        latitude=latitude + np.arange(3) / 20_000, longitude=pl.lit(longitude)
    )
    zone = choose_zone(way["latitude"], way["longitude"])
    found = add_headings_from_track(into_zone(way, zone))["heading"].to_numpy()
    assert (found + 180) % 360 - 180 == pytest.approx([0] * 3, abs=0.001)
