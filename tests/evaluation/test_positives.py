"""Coordinates of images by the three rules of what is right."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from progeo.errors import ProgeoError
from progeo.evaluation.positives import PositiveRule, read_coordinates
from progeo.evaluation.recall import measure_recalls

FRAMES, PLACES, METRES = PositiveRule("frames", 1), PositiveRule("places", 0), PositiveRule("metres", 25)


def table(paths: list[str], **columns: list[Any]) -> pl.DataFrame:
    return pl.DataFrame({"path": paths, **columns})


def test_rules_read_as_text() -> None:
    rules = [PositiveRule("metres", 25.0), PositiveRule("metres", 2.5), PositiveRule("frames", 10), FRAMES, PLACES]
    assert [str(rule) for rule in rules] == [
        *("within 25 m", "within 2.5 m", "within 10 frames", "within 1 frame", "of the same place"),
    ]


def test_frames_of_a_column_are_taken_as_they_are() -> None:
    database = table(["a.jpg", "b.jpg"], frame=[100, 300])
    coordinates = read_coordinates(FRAMES, database, table(["c.jpg"], frame=[299]))
    assert [part.tolist() for part in coordinates] == [[[100.0], [300.0]], [[299.0]]]


def test_frames_of_names_are_counted_in_the_order_of_the_database() -> None:
    # Without the frames that were left out of a recording: 7, 8 and 12 follow each other.
    database = table(["d/image-0012.png", "d/image-0007.png", "d/image-0008.png"])
    coordinates = read_coordinates(FRAMES, database, table(["q/image-0012.png", "q/image-0007.png"]))
    assert [part.ravel().tolist() for part in coordinates] == [[2.0, 0.0, 1.0], [2.0, 0.0]]


def test_frames_of_pano_ids_come_before_those_of_names() -> None:
    database = table(["d/@0@2.4@@@@@1@@@@@@@@.jpg", "d/@0@0@@@@@0@@@@@@@@.jpg"], pano_id=["1", "0"])
    queries = table(["q/@0@2.4@@@@@1@@@@@@@@.jpg"], pano_id=["1"])
    assert [part.ravel().tolist() for part in read_coordinates(FRAMES, database, queries)] == [[1.0, 0.0], [1.0]]


def test_images_without_a_frame_are_named() -> None:
    with pytest.raises(ProgeoError, match=r"1 of 2 images of the queries have no frame number at the end.*first q/b"):
        read_coordinates(FRAMES, table(["d/1.jpg"]), table(["q/1.jpg", "q/b.jpg"]))
    with pytest.raises(ProgeoError, match=r"1 of 1 images of the database have no frame number in the column frame"):
        read_coordinates(FRAMES, table(["d/1.jpg"], frame=pl.Series([None], dtype=pl.Int64)), table(["q"], frame=[1]))
    with pytest.raises(ProgeoError, match="2 of its images share a number, first 7. Number them one by one"):
        read_coordinates(FRAMES, table(["d/a7.jpg", "d/b7.jpg"]), table(["q/1.jpg"]))


def test_places_match_where_they_are_equal() -> None:
    database = table(["1", "2", "3"], place=["church", "bridge", "church"], pano_id=["x", "x", "x"])
    queries = table(["4", "5"], place=["bridge", "nowhere"], pano_id=["x", "x"])
    evaluation = measure_recalls(np.array([[0, 1], [0, 1]]), *read_coordinates(PLACES, database, queries), PLACES)
    assert evaluation.right.tolist() == [[False, True], [False, False]]
    assert evaluation.has_positives.tolist() == [True, False]
    assert evaluation.positives(0).tolist() == [1]


def test_places_are_the_pano_ids_where_there_is_no_column_of_them() -> None:
    database, queries = table(["1", "2"], pano_id=["7", "8"]), table(["3"], pano_id=["8"])
    in_database, in_queries = read_coordinates(PLACES, database, queries)
    assert (in_database == in_queries).ravel().tolist() == [False, True]
    with pytest.raises(ProgeoError, match="1 of 1 images of the queries have no place in the column pano_id, first 3"):
        read_coordinates(PLACES, database, table(["3"]))


def test_equal_metres_in_two_zones_are_no_positives() -> None:
    def at(*zones: int) -> pl.DataFrame:
        positions = {"utm_east": 500000.0, "utm_north": 4000000.0, "utm_letter": "S"}
        return pl.DataFrame({"utm_zone": zones, **positions})

    database, queries = at(10, 33), at(33, 54)
    evaluation = measure_recalls(np.array([[0, 1], [0, 1]]), *read_coordinates(METRES, database, queries), METRES)
    assert evaluation.right.tolist() == [[False, True], [False, False]]
    assert evaluation.errors[~evaluation.right].min() > 1e7
    assert (evaluation.queries_without_positives, evaluation.positive_counts.tolist()) == (1, [1, 0])
    assert [part.shape for part in read_coordinates(METRES, at(33), at(33))] == [(1, 2), (1, 2)]
