from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from progeo.data.geodesy import Zone, to_utm
from progeo.data.positions import NO_POSITION, complete_positions, find_far, into_zone, match_zone, take_located
from progeo.errors import ProgeoError

SCHEMA = {
    "utm_east": pl.Float64,
    "utm_north": pl.Float64,
    "utm_zone": pl.Int32,
    "utm_letter": pl.String,
    "latitude": pl.Float64,
    "longitude": pl.Float64,
}


def photos(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame([dict.fromkeys(SCHEMA) | row for row in rows], schema=SCHEMA)


def degrees(*positions: tuple[float, float]) -> pl.DataFrame:
    return photos(*({"latitude": latitude, "longitude": longitude} for latitude, longitude in positions))


def utm(zone: int, letter: str, east: float = 500_000, north: float = 5_500_000) -> dict[str, Any]:
    return {"utm_east": east, "utm_north": north, "utm_zone": zone, "utm_letter": letter}


def test_utm_from_latitude_and_longitude() -> None:
    table = complete_positions(degrees((59.3293, 18.0686), (59.33, 18.07)))
    east, north = to_utm([59.3293, 59.33], [18.0686, 18.07], Zone(34, True))
    np.testing.assert_allclose(table.select("utm_east", "utm_north").to_numpy(), np.stack([east, north], axis=1))
    assert table["utm_zone"].to_list() == [34, 34]
    assert table["utm_letter"].to_list() == ["V", "V"]


def test_latitude_and_longitude_from_utm_in_both_hemispheres() -> None:
    table = complete_positions(photos(utm(33, "N"), utm(56, "H", 334_000, 6_250_000)))
    assert table["longitude"].to_list() == pytest.approx([15, 151.2], abs=0.05)
    assert table["latitude"].to_list() == pytest.approx([49.65, -33.87], abs=0.01)


@pytest.mark.parametrize("unknown", [{"utm_zone": None}, {"utm_letter": None}, {"utm_zone": 0}, {"utm_zone": 61}])
def test_made_up_coordinates_have_no_latitude(unknown: dict[str, Any]) -> None:
    table = photos(utm(33, "N") | unknown)
    assert complete_positions(table).equals(table)


def test_utm_and_degrees_that_are_given_stay() -> None:
    table = photos(utm(33, "N") | {"latitude": 1.0, "longitude": 2.0})
    assert complete_positions(table).equals(table)


def test_rows_of_both_kinds_share_the_zone_of_the_given_utm() -> None:
    table = complete_positions(pl.concat([degrees((49.65, 18.01)), photos(utm(33, "U"))]))
    assert table["utm_zone"].to_list() == [33, 33]
    assert table["utm_east"].to_list() == pytest.approx([717_300, 500_000], abs=500)


def test_rows_of_both_kinds_without_one_zone() -> None:
    with pytest.raises(ProgeoError, match="UTM coordinates are in unknown zones: give all photos the same kind"):
        complete_positions(pl.concat([degrees((49.65, 18.01)), photos(utm(33, "U") | {"utm_zone": None})]))


def on_border(*offsets: float, zones: tuple[int, ...]) -> pl.DataFrame:
    """Photos a few metres beside 12 degrees east, in UTM coordinates of their own zones."""
    tables = [
        into_zone(degrees((50, 12 + offset)), Zone(zone, True)).with_columns(latitude=None, longitude=None)
        for offset, zone in zip(offsets, zones, strict=True)
    ]
    return pl.concat([table.cast(SCHEMA) for table in tables])  # type: ignore[arg-type]


def test_photos_on_both_sides_of_a_border_come_into_one_zone() -> None:
    table = complete_positions(on_border(-0.0002, -0.0001, 0.0001, zones=(32, 32, 33)))
    assert table["utm_zone"].to_list() == [32, 32, 32]
    metres = np.diff(table["utm_east"].to_numpy())
    assert metres == pytest.approx([7.17, 14.34], abs=0.05)


def test_cities_far_apart_keep_their_zones() -> None:
    table = pl.concat([on_border(-0.5, 0.5, zones=(32, 33)), photos(utm(51, "P"))])
    assert complete_positions(table).select("utm_east", "utm_zone").equals(table.select("utm_east", "utm_zone"))


def test_border_in_a_set_of_more_zones() -> None:
    table = pl.concat([on_border(-0.0001, 0.0001, zones=(32, 33)), photos(utm(51, "P"))])
    with pytest.raises(ProgeoError, match=r"latitude 50.0 and longitude 12.0 .*3 zones \(32 north, .*Split the set"):
        complete_positions(table)


def test_queries_come_into_the_zone_of_the_database() -> None:
    database = complete_positions(degrees((50, 11.99), (50, 11.9999)))
    queries = complete_positions(degrees((50, 12.0001)))
    assert queries["utm_zone"][0] != database["utm_zone"][0]
    matched = match_zone(queries, database)
    assert matched["utm_zone"].to_list() == [32]
    assert matched["utm_east"][0] - database["utm_east"][1] == pytest.approx(14.34, abs=0.05)
    assert match_zone(database, database) is database


def test_queries_of_another_region() -> None:
    database, queries = complete_positions(degrees((50, 11.99))), complete_positions(degrees((37.7, -122)))
    with pytest.raises(ProgeoError, match="span more than two neighbouring UTM zones"):
        match_zone(queries, database)


def test_photos_all_over_the_world_get_their_own_zones() -> None:
    made_up = utm(33, "N") | {"utm_letter": None}
    table = photos(
        made_up, utm(33, "N"), {"latitude": 59.33, "longitude": 18.07}, {"latitude": -33.9, "longitude": 151}
    )
    completed = complete_positions(table, one_plane=False)
    assert completed["utm_zone"].to_list() == [33, 33, 34, 56]
    assert completed["utm_letter"].to_list() == [None, "U", "V", "H"]
    assert completed["utm_north"].to_list() == pytest.approx([5.5e6, 5.5e6, 6_580_000, 6_246_000], abs=5000)
    assert completed[0].equals(table[0])


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
    completed = complete_positions(table_of(latitude=[latitude], longitude=[longitude]), one_plane=False).row(
        0, named=True
    )
    assert (completed["utm_east"], completed["utm_north"]) == pytest.approx((east, north), abs=0.01)
    assert completed["utm_zone"] == zone
    utm_columns = table_of(utm_east=[east], utm_north=[north], utm_zone=[zone], utm_letter=[letter])
    back = complete_positions(utm_columns, one_plane=False)
    assert back.select("latitude", "longitude").row(0) == pytest.approx((latitude, longitude), abs=2e-7)


def test_zones_may_differ_within_a_table() -> None:
    latitude, longitude, east, north, zone, _ = (list(column) for column in zip(*PLACES.values(), strict=True))
    failed: dict[str, str] = {}
    completed = take_located(table_of(latitude=latitude, longitude=longitude), failed)
    assert completed["utm_zone"].to_list() == zone
    assert completed["utm_east"].to_list() == pytest.approx(east, abs=0.01)
    assert completed["utm_north"].to_list() == pytest.approx(north, abs=0.01)
    assert (len(completed), failed) == (len(PLACES), {})


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
    failed: dict[str, str] = {}
    assert take_located(table_of(**columns), failed).is_empty()
    assert failed == {"0.jpg": problem}


def test_unusable_rows_do_not_disturb_the_others() -> None:
    latitude, longitude, east, *_ = PLACES["Sydney"]
    failed: dict[str, str] = {}
    table = table_of(latitude=[99.0, latitude, None], longitude=[0.0, longitude, None])
    assert take_located(table, failed)["utm_east"].to_list() == [pytest.approx(east, abs=0.01)]
    assert list(failed) == ["0.jpg", "2.jpg"]


def test_far_flung_photos_get_zones_of_their_own_where_one_plane_is_not_asked_for() -> None:
    latitude = [59.3293 + number / 10_000 for number in range(12)] + [-33.8568]
    table = pl.DataFrame({"path": [f"{number}.jpg" for number in range(13)], "latitude": latitude})
    table = table.with_columns(longitude=pl.Series([18.0686] * 12 + [151.2153]))
    completed = complete_positions(table, one_plane=None)
    assert completed["utm_zone"].to_list() == [34] * 12 + [56]
    assert find_far(completed).arg_true().to_list() == [12]
    with pytest.raises(ProgeoError, match=r"span more than two .* Far from all others: 12\.jpg"):
        complete_positions(table)
    near = table.head(12)
    assert complete_positions(near, one_plane=None).equals(complete_positions(near))
    assert not find_far(near).any()
