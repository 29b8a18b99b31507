from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from progeo.data.file_names import FILE_NAME_FIELDS, format_file_names, parse_file_names

FULL = "@0549100.12@4178022.50@10@S@037.7493@-122.4427@pano7@02@270.25@1.5@-0.5@12@201311@sunny@.jpg"


def test_every_field_of_a_full_name() -> None:
    row = parse_file_names(pl.Series("path", [f"a@b/{FULL}"])).row(0, named=True)
    assert row == {
        "path": f"a@b/{FULL}",
        "utm_east": 549100.12,
        "utm_north": 4178022.5,
        "utm_zone": 10,
        "utm_letter": "S",
        "latitude": 37.7493,
        "longitude": -122.4427,
        "pano_id": "pano7",
        "tile": "02",
        "heading": 270.25,
        "pitch": 1.5,
        "roll": -0.5,
        "height": 12.0,
        "timestamp": "201311",
        "note": "sunny",
    }


@pytest.mark.parametrize("name", ["@10.5@20@.jpg", "@10.5@20.JPEG", "@10.5@20@@@@@@@@@@@@@.png", "x@10.5@20@.heic"])
def test_short_names_leave_the_other_fields_empty(name: str) -> None:
    row = parse_file_names(pl.Series("path", [name])).row(0, named=True)
    assert (row["utm_east"], row["utm_north"]) == (10.5, 20.0)
    assert all(row[column] is None for column in FILE_NAME_FIELDS if not column.startswith(("utm_e", "utm_n")))


def test_heading_that_is_no_number_counts_as_missing() -> None:
    table = parse_file_names(pl.Series("path", ["@1@2@@@@@@@nan@.jpg", "@1@2@@@@@@@north@.jpg", "@1@2@@@@@@@30@.jpg"]))
    assert table["heading"].to_list() == [None, None, 30.0]


text = st.one_of(st.none(), st.text("aZé0._- ", min_size=1, max_size=10).filter(lambda text: text.strip()))
rows = st.fixed_dictionaries(
    {
        "path": st.sampled_from(["a.jpg", "b/c.PNG", "x.y/d.heic"]),
        "utm_east": st.floats(0, 1e6),
        "utm_north": st.floats(-1e7, 1e7),
        "utm_zone": st.one_of(st.none(), st.integers(1, 60)),
        "utm_letter": st.sampled_from([None, "C", "S", "X"]),
        "latitude": st.one_of(st.none(), st.floats(-80, 84)),
        "longitude": st.one_of(st.none(), st.floats(-180, 180)),
        "pano_id": text,
        "tile": text,
        **{name: st.one_of(st.none(), st.floats(-360, 360)) for name in ("heading", "pitch", "roll", "height")},
        "timestamp": st.sampled_from([None, "201311", "20230406"]),
        "note": text,
    }
)


@settings(max_examples=50, deadline=None)
@given(st.lists(rows, min_size=1, max_size=4))
def test_names_that_are_written_read_the_same(photos: list[dict[str, Any]]) -> None:
    table = pl.DataFrame(photos, schema={"path": pl.String, **FILE_NAME_FIELDS})
    names = format_file_names(table)
    assert [name.rpartition(".")[2] for name in names] == [path.rpartition(".")[2] for path in table["path"]]
    again = parse_file_names(names.alias("path"))
    for name, kind in FILE_NAME_FIELDS.items():
        tolerance = 5e-9 if name in ("latitude", "longitude") else 0.005
        expected = [
            pytest.approx(value, abs=1.001 * tolerance) if kind == pl.Float64 else value for value in table[name]
        ]
        assert again[name].to_list() == expected, name


def test_signs_that_names_cannot_hold() -> None:
    table = parse_file_names(pl.Series("path", ["@1@2@.jpg"])).with_columns(
        pano_id=pl.lit("a@b/c"), note=pl.lit('d:e\n"'), timestamp=pl.lit("2023-04-06T10:19:05.5-02:30")
    )
    (name,) = format_file_names(table)
    assert name == "@0000001.00@0000002.00@@@@@a_b_c@@@@@@20230406T101905.5-0230@d_e__@.jpg"
