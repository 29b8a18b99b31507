"""Grouping queries by columns and by their timestamps."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from progeo.errors import ProgeoError
from progeo.evaluation.grouping import group_queries


def queries(**columns: list[Any]) -> pl.DataFrame:
    count = len(next(iter(columns.values())))
    return pl.DataFrame({"path": [f"{number}.jpg" for number in range(count)], **columns})


def groups(table: pl.DataFrame, column: str) -> dict[str, list[int]]:
    return {value: rows.tolist() for value, rows in group_queries(table, column).items()}


def test_values_of_a_column_in_order_unknown_ones_last() -> None:
    table = queries(weather=["rain", None, "fog", "rain"])
    assert groups(table, "weather") == {"fog": [2], "rain": [0, 3], "unknown": [1]}
    assert groups(queries(city=[3, 1, 3]), "city") == {"1": [1], "3": [0, 2]}


@pytest.mark.parametrize(
    ("timestamp", "column", "value"),
    [
        ("20190105_123000", "hour", "12"),
        ("2019-01-05T23:30:00+02:00", "hour", "23"),
        ("2019-01-05 06:59", "day_night", "night"),
        ("20190105_070000", "day_night", "day"),
        ("20190105_190000", "day_night", "night"),
        ("201901", "month", "1"),
        ("201901", "year", "2019"),
        ("20190105", "season", "winter"),
        ("2019-12", "season", "winter"),
        ("2019-03", "season", "spring"),
        ("2019-07", "season", "summer"),
        ("2019-11-30", "season", "autumn"),
    ],
)
def test_what_timestamps_say(timestamp: str, column: str, value: str) -> None:
    assert groups(queries(timestamp=[timestamp]), column) == {value: [0]}


def test_what_timestamps_do_not_say_is_unknown() -> None:
    table = queries(timestamp=["20190105_123000", "201901", "someday", None, "2019-13-05"])
    assert groups(table, "day_night") == {"day": [0], "unknown": [1, 2, 3, 4]}
    assert groups(table, "season") == {"winter": [0, 1], "unknown": [2, 3, 4]}


def test_seasons_of_the_south() -> None:
    table = queries(timestamp=["201901"] * 4, latitude=[-27.5, 51.0, None, None], utm_letter=[None, None, "J", "N"])
    assert groups(table, "season") == {"summer": [0, 2], "winter": [1, 3]}


def test_a_column_of_the_table_wins_over_a_derived_one() -> None:
    assert groups(queries(season=["dry", "wet"], timestamp=["201901", "201901"]), "season") == {"dry": [0], "wet": [1]}


def test_columns_that_cannot_be_grouped_by() -> None:
    with pytest.raises(ProgeoError, match=r"`group_by` wether: .* no such column. There are: path, weather, day_night"):
        group_queries(queries(weather=["rain"]), "wether")
    with pytest.raises(ProgeoError, match="`group_by` season: not one of the 2 queries has a timestamp"):
        group_queries(queries(weather=["rain", "fog"]), "season")
    with pytest.raises(ProgeoError, match="`group_by` note: not one of the 1 queries has a note"):
        group_queries(queries(note=[None]), "note")
    with pytest.raises(ProgeoError, match="it has 99 different values among 99 queries"):
        group_queries(queries(heading=[float(number) for number in range(99)]), "heading")
