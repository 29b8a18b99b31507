"""Positions: completing them, refusing impossible ones, measuring between them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from progeo.data.located import (
    NO_POSITION,
    complete_positions,
    measure_distances,
    to_degrees,
    to_points,
)

ZERO_ZERO = "latitude and longitude are both 0, which devices write when they do not know"
# From the metadata of Street View panoramas and of a campus, which give both, and a third one south of the equator.
PLACES = {
    "Hyderabad": (17.4816068, 78.3607088, 219710.92, 1934774.31, 44, "Q"),
    "Philadelphia": (39.9508833, -75.1925699, 483550.51, 4422323.52, 18, "S"),
    "Sydney": (-33.8688, 151.2093, 334368.63, 6250948.35, 56, "H"),
}


def table_of(**columns: list[float | str | None]) -> pl.DataFrame:
    count = len(next(iter(columns.values())))
    return pl.DataFrame({"path": [f"{number}.jpg" for number in range(count)], **columns})


@pytest.mark.parametrize("name", PLACES)
def test_latitude_and_longitude_become_utm_and_back(name: str) -> None:
    latitude, longitude, east, north, zone, letter = PLACES[name]
    completed = complete_positions(table_of(latitude=[latitude], longitude=[longitude])).row(0, named=True)
    assert (completed["utm_east"], completed["utm_north"]) == pytest.approx((east, north), abs=0.01)
    assert completed["utm_zone"] == zone
    back = complete_positions(table_of(utm_east=[east], utm_north=[north], utm_zone=[zone], utm_letter=[letter]))
    assert back.select("latitude", "longitude").row(0) == pytest.approx((latitude, longitude), abs=2e-7)


def test_zones_may_differ_within_a_table() -> None:
    latitude, longitude, east, north, zone, _ = (list(column) for column in zip(*PLACES.values(), strict=True))
    completed = complete_positions(table_of(latitude=latitude, longitude=longitude))
    assert completed["utm_zone"].to_list() == zone
    assert completed["utm_east"].to_list() == pytest.approx(east, abs=0.01)
    assert completed["utm_north"].to_list() == pytest.approx(north, abs=0.01)
    assert completed["problem"].null_count() == len(PLACES)


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"latitude": [None], "longitude": [8.0]}, NO_POSITION),
        ({"utm_east": [500000.0], "utm_north": [4e6]}, NO_POSITION),
        ({"utm_east": [500000.0], "utm_north": [4e6], "utm_zone": [10]}, NO_POSITION),
        ({"utm_east": [500000.0], "utm_north": [4e6], "utm_zone": [61], "utm_letter": ["S"]}, NO_POSITION),
        ({"latitude": [float("nan")], "longitude": [8.0]}, NO_POSITION),
        ({"latitude": [91.0], "longitude": [8.0]}, "latitude 91.0 is not between -90 and 90"),
        ({"latitude": [45.0], "longitude": [-180.5]}, "longitude -180.5 is not between -180 and 180"),
        ({"latitude": [0.0], "longitude": [0.0]}, ZERO_ZERO),
    ],
)
def test_unusable_positions_are_explained(columns: dict[str, list[float | str | None]], problem: str) -> None:
    assert complete_positions(table_of(**columns))["problem"].to_list() == [problem]


def test_unusable_rows_do_not_disturb_the_others() -> None:
    latitude, longitude, east, *_ = PLACES["Sydney"]
    completed = complete_positions(table_of(latitude=[99.0, latitude, None], longitude=[0.0, longitude, None]))
    assert completed["problem"].is_null().to_list() == [False, True, False]
    assert completed["utm_east"][1] == pytest.approx(east, abs=0.01)


@given(st.floats(-89, 89), st.floats(-180, 180))
def test_points_keep_positions(latitude: float, longitude: float) -> None:
    back = to_degrees(to_points(np.array(latitude), np.array(longitude)))
    assert back[0] == pytest.approx(latitude, abs=1e-9)
    assert abs((back[1] - longitude + 180) % 360 - 180) < 1e-9


def test_distances_on_the_ground() -> None:
    points = to_points(np.array([45.0, 45.001, -17.0, -17.0]), np.array([9.0, 9.0, 179.9995, -179.9995]))
    assert measure_distances(points[0], points[1]) == pytest.approx(111.2, abs=0.1)
    assert measure_distances(points[2], points[3]) == pytest.approx(106.3, abs=0.1)  # across the date line
