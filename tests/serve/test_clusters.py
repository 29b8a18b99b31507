from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from progeo.serve.clusters import MAX_FEATURES, MAX_ZOOM, Box, PlacesMap

Positions = list[tuple[float, float]]
anywhere = st.lists(
    st.tuples(st.floats(-90, 90, allow_nan=False), st.floats(-180, 180, allow_nan=False)), min_size=1, max_size=40
)


def make_map(positions: Positions, headings: list[float | None] | None = None) -> PlacesMap:
    return PlacesMap(
        pl.DataFrame(
            {
                "id": [f"{row:x}" for row in range(len(positions))],
                "latitude": [latitude for latitude, _ in positions],
                "longitude": [longitude for _, longitude in positions],
                "heading": pl.Series(headings or [None] * len(positions), dtype=pl.Float64),
            }
        )
    )


def counts_of(places: PlacesMap, zoom: int, box: Box | None = None) -> list[int]:
    return [feature["properties"]["count"] for feature in places.cluster(zoom, box)["features"]]


@given(anywhere, st.integers(0, MAX_ZOOM))
def test_every_photo_is_counted_once(positions: Positions, zoom: int) -> None:
    places = make_map(positions)
    assert sum(counts_of(places, zoom)) == places.cluster(zoom)["total"] == len(positions)


@given(anywhere, st.integers(1, MAX_ZOOM))
def test_nearer_means_more_points(positions: Positions, zoom: int) -> None:
    places = make_map(positions)
    assert len(counts_of(places, zoom)) >= len(counts_of(places, zoom - 1))


@given(anywhere)
def test_points_stand_among_their_photos(positions: Positions) -> None:
    answer = make_map(positions).cluster(3)
    west, south, east, north = answer["bbox"]
    for feature in answer["features"]:
        longitude, latitude = feature["geometry"]["coordinates"]
        assert west - 1e-6 <= longitude <= east + 1e-6
        assert south - 1e-6 <= latitude <= north + 1e-6


def test_photos_of_one_corner_are_joined_until_the_map_is_close() -> None:
    places = make_map([(52.5, 13.4), (52.5001, 13.4001), (48.1, 11.6)], [10, 20, 30])
    assert sorted(counts_of(places, 6)) == [1, 2]
    assert counts_of(places, 20) == [1, 1, 1]
    far, near = places.cluster(6)["features"]
    assert near["geometry"]["coordinates"] == [13.40005, 52.50005]
    assert near["properties"] == {"id": "0", "count": 2, "heading": None}
    assert far["properties"] == {"id": "2", "count": 1, "heading": 30.0}


def test_box() -> None:
    places = make_map([(0, -179.5), (0, 0), (0, 179.5), (60, 179.5)])
    assert sum(counts_of(places, 5, Box(-1, -1, 1, 1))) == 1
    assert sum(counts_of(places, 5, Box(179, -1, -179, 1))) == 2  # across the 180th meridian
    assert counts_of(places, 5, Box(50, 50, 60, 60)) == []


def test_answers_stay_small_however_large_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("progeo.serve.clusters.MAX_FEATURES", 10)
    counts = counts_of(make_map([(latitude / 10, 0) for latitude in range(200)]), MAX_ZOOM)
    assert 1 < len(counts) <= 10 < MAX_FEATURES
    assert sum(counts) == 200
