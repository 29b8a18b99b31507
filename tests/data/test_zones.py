"""Photos of several UTM zones in one set."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.spatial.distance import cdist

from progeo.data.zones import number_zones, read_points


def in_zones(*zones: tuple[int | None, str | None]) -> pl.DataFrame:
    numbers, letters = zip(*zones, strict=True)
    return pl.DataFrame(
        {"utm_east": 1.0, "utm_north": 2.0, "utm_zone": numbers, "utm_letter": letters},
        schema_overrides={"utm_zone": pl.Int32, "utm_letter": pl.String},
    )


@pytest.mark.parametrize(
    ("zones", "numbers"),
    [
        ([(33, "U"), (33, "V")], [0, 0]),
        ([(33, "N"), (33, "M"), (33, "n")], [1, 0, 1]),
        ([(33, "U"), (10, "S"), (33, "U")], [1, 0, 1]),
        ([(56, "J"), (56, None)], [0, 0]),  # in the hemisphere of the other
        ([(56, "J"), (56, None), (10, None)], [1, 1, 0]),
        ([(33, "U"), (None, None), (None, "S")], [0, 0, 0]),  # in the only zone
        ([(None, None), (None, "U"), (None, "J")], [0, 0, 0]),
    ],
)
def test_zones_are_numbered_by_number_and_hemisphere(
    zones: list[tuple[int | None, str | None]], numbers: list[int]
) -> None:
    assert number_zones(in_zones(*zones)).tolist() == numbers


def test_photos_without_a_zone_are_in_none_of_several() -> None:
    numbers = number_zones(in_zones((33, "U"), (None, None), (10, "S"), (None, "U"))).tolist()
    assert numbers[1] == numbers[3]
    assert len(set(numbers)) == 3


def test_zones_have_nothing_to_do_with_each_other() -> None:
    points = read_points(in_zones((33, "N"), (33, "M"), (None, None)))
    assert cdist(points, points)[np.triu_indices(3, 1)].min() > 1e7


def test_points_of_one_zone_are_plain() -> None:
    assert read_points(in_zones((33, "U"), (33, "U"))).tolist() == [[1.0, 2.0], [1.0, 2.0]]
