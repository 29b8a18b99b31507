from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod, Proj
from pyproj.database import query_utm_crs_info

from progeo.data.geodesy import (
    Zone,
    choose_zone,
    describe_impossible,
    find_letters,
    find_zone_numbers,
    is_north,
    to_latitude_longitude,
    to_utm,
)
from progeo.errors import ProgeoError

latitudes = st.floats(-80, 84)
longitudes = st.floats(-180, 180)


@settings(max_examples=50, deadline=None)
@given(latitudes, longitudes)
def test_utm_is_that_of_proj_and_comes_back(latitude: float, longitude: float) -> None:
    zone = choose_zone([latitude], [longitude])
    east, north = to_utm([latitude], [longitude], zone)
    proj = Proj(proj="utm", zone=zone.number, south=not zone.is_north, ellps="WGS84")
    assert (east[0], north[0]) == pytest.approx(proj(longitude, latitude), abs=1e-4)
    back = to_latitude_longitude(east, north, zone)
    assert back[0][0] == pytest.approx(latitude, abs=1e-8)
    assert abs((back[1][0] - longitude + 180) % 360 - 180) < 1e-7 / max(np.cos(np.radians(latitude)), 0.05)


def test_zones_are_those_of_the_epsg_registry() -> None:
    registry = query_utm_crs_info(datum_name="WGS 84")
    areas = {int(info.code): info.area_of_use for info in registry if info.code[:3] in ("326", "327")}
    for latitude, longitude in [
        (59.3, 18.1),
        (-33.9, 151.2),
        (37.7, -122.4),
        (-54.8, -68.3),
        (0.5, 100.1),
        (-0.5, 100.1),
    ]:
        area = areas[choose_zone([latitude], [longitude]).epsg]
        assert area is not None
        assert area.west <= longitude <= area.east
        assert area.south <= latitude <= area.north


@pytest.mark.parametrize(
    ("latitude", "longitude", "number"),
    [
        (60.39, 5.32, 32),  # Bergen, which would be in 31
        (55.99, 5.32, 31),
        (64.0, 5.32, 31),
        (60.39, 2.99, 31),
        (60.39, 12.0, 33),
        (78.22, 15.65, 33),  # Longyearbyen
        (78.9, 8.99, 31),
        (78.9, 9.0, 33),
        (80.0, 21.0, 35),
        (80.0, 33.0, 37),
        (80.0, 41.99, 37),
        (71.99, 9.5, 32),
        (10.0, -180.0, 1),
        (10.0, 180.0, 1),
        (10.0, 179.99, 60),
        (48.0, 5.9999, 31),
        (48.0, 6.0, 32),
    ],
)
def test_zone_numbers_with_the_exceptions_of_norway_and_svalbard(
    latitude: float, longitude: float, number: int
) -> None:
    assert find_zone_numbers([latitude], [longitude]).tolist() == [number]


def test_letters_are_latitude_bands_kept_in_the_hemisphere_of_the_coordinates() -> None:
    assert find_letters([-80, -72.1, -72, -0.1], Zone(33, False)).tolist() == ["C", "C", "D", "M"]
    assert find_letters([0, 37.75, 71.9, 72, 84], Zone(33, True)).tolist() == ["N", "S", "W", "X", "X"]
    assert find_letters([-0.1], Zone(33, True)).tolist() == ["N"]
    assert find_letters([0.1], Zone(33, False)).tolist() == ["M"]
    assert [is_north(letter) for letter in "CMNXmn"] == [False, False, True, True, False, True]


@settings(max_examples=25, deadline=None)
@given(st.floats(-70, 70), st.sampled_from([-180, -72, 6, 144]), st.floats(-1, 1), st.floats(0, 360))
def test_distances_across_a_border_are_true(latitude: float, border: int, offset: float, azimuth: float) -> None:
    longitude = border + offset
    zone = choose_zone([latitude, latitude], [border - 0.01, border + 0.01])
    further_longitude, further_latitude, _ = Geod(ellps="WGS84").fwd(longitude, latitude, azimuth, 25)
    east, north = to_utm([latitude, further_latitude], [longitude, further_longitude], zone)
    assert np.hypot(np.diff(east), np.diff(north)) == pytest.approx([25], rel=0.005)


def test_set_on_a_border_gets_the_zone_of_its_centre() -> None:
    assert choose_zone([50, 50, 50], [5.9, 5.95, 6.01]) == Zone(31, True)
    assert choose_zone([50, 50, 50], [5.99, 6.05, 6.01]) == Zone(32, True)
    assert choose_zone([-17, -17, -17], [179.9, 179.95, -179.99]) == Zone(60, False)
    assert choose_zone([-0.2, 0.1], [100, 100]) == Zone(47, False)
    assert choose_zone([78, 78], [8, 10]).number in (31, 33)


@pytest.mark.parametrize("longitude", [[3, 9, 15], [3, 15], [-178, 160]])
def test_more_than_two_zones_are_refused(longitude: list[float]) -> None:
    with pytest.raises(ProgeoError, match=r"more than two neighbouring UTM zones .*Split the set by region"):
        choose_zone(np.full(len(longitude), 50.0), longitude)


@pytest.mark.parametrize(
    ("latitude", "longitude", "message"),
    [
        (None, 5.0, "no latitude and longitude"),
        (5.0, float("nan"), "no latitude and longitude"),
        (0.0, 0.0, "both 0"),
        (91.0, 5.0, "latitude 91.0 is not between -90 and 90"),
        (45.0, -181.0, "longitude -181.0 is not between -180 and 180"),
        (85.0, 5.0, "latitude 85.0 is beyond UTM"),
    ],
)
def test_impossible_positions(latitude: float | None, longitude: float, message: str) -> None:
    row = pl.DataFrame({"a": [latitude], "o": [longitude]}, schema={"a": pl.Float64, "o": pl.Float64})
    assert message in row.select(describe_impossible(pl.col("a"), pl.col("o"))).item()


@given(latitudes, longitudes)
@settings(max_examples=50, deadline=None)
def test_possible_positions(latitude: float, longitude: float) -> None:
    row = pl.DataFrame({"a": [latitude], "o": [longitude]})
    problem = row.select(describe_impossible(pl.col("a"), pl.col("o"))).item()
    assert (problem is None) == ((latitude, longitude) != (0, 0))
