from __future__ import annotations

from datetime import datetime, timezone

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from progeo.data.timestamps import compact_timestamps, normalise_timestamps, parse_timestamps


def apply(function, text: str | None):  # type: ignore[no-untyped-def]
    # A column, as in tables: Polars 2.0, the last one for Python 3.10, loses the row of a literal here.
    return pl.DataFrame({"text": [text]}, {"text": pl.String}).select(function(pl.col("text"))).item()


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("201311", "2013-11"),
        ("20230406", "2023-04-06"),
        ("2023:04:06 10:19:05", "2023-04-06T10:19:05"),
        ("2023-04-06 10:19", "2023-04-06T10:19"),
        ("20230406T101905.25+0200", "2023-04-06T10:19:05.25+02:00"),
        ("20230406_101905", "2023-04-06T10:19:05"),
        ("2023-04-06T10:19:05Z", "2023-04-06T10:19:05Z"),
        ("1400000000", "2014-05-13T16:53:20Z"),
        ("1400000000123", "2014-05-13T16:53:20.123Z"),
        ("2023:04:06 10:19:05.250", "2023-04-06T10:19:05.250"),
        ("2023:04:06 10:19:05:250", "2023-04-06T10:19:05.250"),
        ("2023:04:06 10:19:05+02:00", "2023-04-06T10:19:05+02:00"),
        ("2023-04-06T10:19:05 +02:00", "2023-04-06T10:19:05+02:00"),
        ("2023-04-06T10:19:05+2:00", "2023-04-06T10:19:05+02:00"),
        ("2023-04-06T10:19:05\u221202:00", "2023-04-06T10:19:05-02:00"),
        ("2023-04-06 10:19:05.123456+02", "2023-04-06T10:19:05.123456+02:00"),
        ("2023-04-06 10:19:05+00", "2023-04-06T10:19:05+00:00"),
        ("2023-04-06 10:19:05 UTC", "2023-04-06T10:19:05Z"),
        ("2023:04:06 10:19:05 PM", "2023-04-06T22:19:05"),
        ("2023/4/6 12:9:05 a.m.", "2023-04-06T00:09:05"),
        ("2023:04:06 22:19:05 pm", "2023-04-06T22:19:05"),
        ("2023:4:6 9:1:5", "2023-04-06T09:01:05"),
        ("2023:04:06  10:19:05", "2023-04-06T10:19:05"),
        ("2023/04/06 10:19", "2023-04-06T10:19"),
        ("2023:12:31 24:00:00", "2024-01-01T00:00:00"),
        ("2016:12:31 23:59:60", "2017-01-01T00:00:00"),
        ("2023_04_06_10_19_05_000", "2023-04-06T10:19:05.000"),
        ("2023-04-06-10-19-05", "2023-04-06T10:19:05"),
        ("2023/04/06 10:19-03:00", "2023-04-06T10:19-03:00"),
        ("06.04.2023 10:19:05", "2023-04-06T10:19:05"),
        ("4/16/2023 10:19:05 AM", "2023-04-16T10:19:05"),
        ("16/4/2023", "2023-04-16"),
        ("Thu Apr  6 10:19:05 2023", "2023-04-06T10:19:05"),
        ("Thu, 06 Apr 2023 10:19:05 +0200", "2023-04-06T10:19:05+02:00"),
        ("April 6, 2023 10:19 AM", "2023-04-06T10:19"),
        ("1680776345.0", "2023-04-06T10:19:05Z"),
        ("1680776345.25", "2023-04-06T10:19:05.25Z"),
        ("1680776345123456", "2023-04-06T10:19:05.123456Z"),
        ("1680776345123456789", "2023-04-06T10:19:05.123456789Z"),
        # April or June, days since 1900, no time of day.
        *((text, text) for text in ("4/6/2023 10:19:05 AM", "45022.43", "2023:04:06 25:00:00", "2023:04:06 24:01:00")),
        # No times, or impossible ones, stay as they are.
        *((text, text) for text in ("2013", "08h07", "201313", "20230231", "20230406T251905", "130511", "", None)),
    ],
)
def test_forms_of_time(text: str | None, normal: str | None) -> None:
    assert apply(normalise_timestamps, text) == normal
    assert apply(normalise_timestamps, normal) == normal


@settings(max_examples=50, deadline=None)
@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)),
    st.sampled_from(["", "Z", "+05:30", "-03:00"]),
    st.integers(0, 4),
)
def test_through_a_file_name_and_back(moment: datetime, offset: str, precision: int) -> None:
    text = moment.isoformat()[: (7, 10, 16, 19, 26)[precision]] + (offset if precision >= 2 else "")
    compact = apply(compact_timestamps, apply(normalise_timestamps, text))
    assert not set(compact) & set(":/")
    assert apply(normalise_timestamps, compact) == text


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2023-04-06T10:19:05", datetime(2023, 4, 6, 10, 19, 5, tzinfo=timezone.utc)),
        ("2023-04-06T10:19:05.5+02:00", datetime(2023, 4, 6, 8, 19, 5, 500000, tzinfo=timezone.utc)),
        ("2023-04-06T10:19", None),
        ("2023-04-06", None),
        ("08h07", None),
        (None, None),
    ],
)
def test_moments(text: str | None, moment: datetime | None) -> None:
    assert apply(parse_timestamps, text) == moment
