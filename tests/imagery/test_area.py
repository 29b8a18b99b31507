"""Areas: circles, boxes, polygons, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from progeo.errors import ProgeoError
from progeo.imagery.area import make_area


def test_a_circle_and_its_box() -> None:
    area = make_area((45.4432, 9.2179), 500)
    (box,) = area.boxes
    assert box.height_metres == pytest.approx(1000, abs=1)
    assert area.contains(45.4432, 9.2179 + 499 / 78_000)
    assert not area.contains(box.north - 1e-6, box.east - 1e-6)


def test_a_circle_across_the_date_line() -> None:
    area = make_area((-16.8, 179.999), 500)
    assert area.boxes[0].east == 180
    assert area.contains(-16.8, -179.9985)
    assert not area.contains(-16.8, 179.99)


def test_a_box() -> None:
    area = make_area(bbox=(9.21, 45.44, 9.22, 45.45))
    assert area.contains(45.445, 9.215)
    assert not area.contains(45.445, 9.225)
    assert len(make_area(bbox=(179.9, 0, -179.9, 1)).boxes) == 2


def test_polygons_with_holes(tmp_path: Path) -> None:
    square = [[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]
    hole = [[1, 1], [3, 1], [3, 3], [1, 3], [1, 1]]
    far = [[[10, 10], [11, 10], [11, 11], [10, 10]]]
    shape = {"type": "MultiPolygon", "coordinates": [[square, hole], far]}
    path = tmp_path / "town.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": shape}]}))
    area = make_area(polygon=path)
    assert [area.contains(*place) for place in ((0.5, 2), (2, 2), (10.2, 10.5), (5, 5))] == [True, False, True, False]


def test_boxes_are_tiled() -> None:
    (box,) = make_area(bbox=(9, 45, 9.05, 45.03)).boxes
    tiles = list(box.tile(0.02, 0.02))
    assert len(tiles) == 6
    assert max(tile.east for tile in tiles) == 9.05
    with pytest.raises(ProgeoError, match=r"40.00 by 60.00 degrees.*smaller area"):
        list(make_area(bbox=(-30, 0, 30, 40)).boxes[0].tile(0.02, 0.02))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "which area"),
        ({"near": (1, 2)}, "which area"),
        ({"near": (1, 2), "within": 5, "bbox": (0, 0, 1, 1)}, "one of the three"),
        ({"near": (95, 2), "within": 5}, "95,2 is no place"),
        ({"bbox": (45.44, 99.21, 45.45, 9.22)}, "longitude first"),
        ({"bbox": (1, 2, 1, 3)}, "1,2,1,3 is no box"),
        ({"polygon": "nowhere.geojson"}, "nowhere.geojson cannot be read"),
    ],
)
def test_impossible_areas(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ProgeoError, match=message):
        make_area(**given)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json", "no GeoJSON"),
        ('{"type": "Point", "coordinates": [1, 2]}', "holds no polygon"),
        ('{"type": "Polygon", "coordinates": [[[200, 1], [201, 1], [201, 2], [200, 1]]]}', "no longitude"),
        ("[]", "no GeoJSON"),
    ],
)
def test_impossible_polygons(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.geojson").write_text(content)
    with pytest.raises(ProgeoError, match=message):
        make_area(polygon=tmp_path / "a.geojson")
