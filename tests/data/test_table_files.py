"""Tables that are damaged, or made to harm: one message, and soon."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from progeo.data.table_files import read_table_file
from progeo.errors import ProgeoError

POINT = {"type": "Point", "coordinates": [18.0, 59.0]}


def write_geojson(path: Path, geometry: Any = POINT, properties: Any = None) -> Path:
    feature = {"type": "Feature", "geometry": geometry, "properties": properties or {"path": "a.jpg"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"geometry": "abc"}, "feature 1 has 'abc' where an object belongs"),
        ({"properties": [1]}, r"feature 1 has \[1\] where an object belongs"),
        *(({"geometry": {"type": "Point", "coordinates": value}}, "in place of longitude and latitude")
          for value in (5, "ab", {"a": 1}, [1], [[1, 2], [3, 4]], ["a", "b"], [10**400, 1])),
        ({"geometry": {"type": "MultiPoint", "coordinates": [5]}}, "in place of longitude and latitude"),
        ({"properties": {f"c{number}": 1 for number in range(2000)}}, "2,002 columns, more than 1,000"),
    ],
    ids=lambda part: str(part)[:30],
)  # fmt: skip
def test_features_that_cannot_be_are_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write_geojson(tmp_path / "m.geojson", **changes)
    with pytest.raises(ProgeoError, match=message) as raised:
        read_table_file(path)
    assert str(path) in str(raised.value) and len(str(raised.value)) < 500


def test_objects_inside_each_other_without_end(tmp_path: Path) -> None:
    path = tmp_path / "m.geojson"
    deep = "[" * 10_000 + "]" * 10_000
    for text in (deep, f'{{"type": "FeatureCollection", "features": [{{"properties": {{"path": {deep}}}}}]}}'):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ProgeoError, match="nested too deep") as raised:
            read_table_file(path)
        assert str(path) in str(raised.value) and len(str(raised.value)) < 500


def test_truth_is_no_coordinate(tmp_path: Path) -> None:
    table = read_table_file(write_geojson(tmp_path / "m.geojson", {"type": "Point", "coordinates": [True, False]}))
    assert table["latitude"].to_list() == [None]


@pytest.mark.parametrize("end", ["csv", "parquet"])
def test_too_many_columns_are_refused_at_once(end: str, tmp_path: Path) -> None:
    path = tmp_path / f"wide.{end}"
    names = [f"c{number}" for number in range(100_000 if end == "csv" else 2000)]
    if end == "csv":
        path.write_text(",".join(names) + "\n" + ",".join("1" for _ in names) + "\n", encoding="utf-8")
    else:
        pl.DataFrame({name: [1] for name in names}).write_parquet(path)
    start = time.process_time()
    with pytest.raises(ProgeoError, match="columns, more than 1,000: keep those that are needed"):
        read_table_file(path)
    assert time.process_time() - start < 5


def test_many_comments_take_no_time(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("# x\n\n" * 100_000 + "#path,latitude,longitude\na.jpg,59,18\n", encoding="utf-8")
    start = time.process_time()
    assert read_table_file(path).columns == ["path", "latitude", "longitude"]
    assert time.process_time() - start < 5


@pytest.mark.parametrize("name", ["m.csv", "m.geojson", "m.parquet"])
def test_only_regular_files_are_tables(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(ProgeoError, match=name):
        read_table_file(tmp_path / name)
