"""Pictures of predictions: frames, labels, files, and images that are odd or broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from progeo.errors import ProgeoError
from progeo.evaluation.pictures import (
    QUERY_COLOUR,
    RIGHT_COLOUR,
    TILE_COLOUR,
    WRONG_COLOUR,
    format_metres,
    read_tile,
    save_predictions,
)
from progeo.evaluation.recall import Evaluation, measure_recalls

BLUE, YELLOW, GREY = (30, 60, 200), (230, 210, 40), (120, 120, 120)


def write_image(path: Path, colour: tuple[int, int, int] = GREY, size: tuple[int, int] = (64, 48)) -> str:
    Image.new("RGB", size, colour).save(path)
    return str(path)


def frame_colours(picture: Image.Image) -> list[tuple[int, int, int]]:
    """Colours of the frames from left to right, read along the lower edge of the tiles."""
    row = np.asarray(picture)[-16].astype(int)
    known = np.array([(255, 255, 255), QUERY_COLOUR, RIGHT_COLOUR, WRONG_COLOUR])
    nearest = np.abs(row[:, None] - known[None]).sum(axis=2).argmin(axis=1)
    runs = nearest[np.flatnonzero(np.diff(nearest, prepend=-1))]
    return [tuple(known[run].tolist()) for run in runs if run != 0]


@pytest.fixture
def example(tmp_path: Path) -> tuple[Evaluation, list[str], list[str]]:
    """Two queries over three images: the first is right at rank 1, the second at rank 2 only."""
    positions = np.array([[0.0, 0.0], [12.4, 0.0], [2000.0, 0.0]])
    evaluation = measure_recalls(np.array([[0, 2, 1], [0, 2, 1]]), positions, np.array([[0.0, 3.0], [1990.0, 0.0]]))
    database_paths = [write_image(tmp_path / f"database{i}.png", BLUE) for i in range(3)]
    return evaluation, database_paths, [write_image(tmp_path / f"query{i}.jpg", YELLOW) for i in range(2)]


def test_frames_tell_right_from_wrong(example: tuple[Evaluation, list[str], list[str]], tmp_path: Path) -> None:
    assert save_predictions(*example, tmp_path / "preds", num_preds=3) == 2
    assert sorted(path.name for path in (tmp_path / "preds").iterdir()) == ["000.jpg", "000.txt", "001.jpg", "001.txt"]
    first, second = (Image.open(tmp_path / "preds" / name) for name in ("000.jpg", "001.jpg"))
    assert frame_colours(first) == [QUERY_COLOUR, RIGHT_COLOUR, WRONG_COLOUR, RIGHT_COLOUR]
    assert frame_colours(second) == [QUERY_COLOUR, WRONG_COLOUR, RIGHT_COLOUR, WRONG_COLOUR]
    assert np.abs(np.asarray(first)[200, 200].astype(int) - YELLOW).max() < 12


def test_number_of_predictions(example: tuple[Evaluation, list[str], list[str]], tmp_path: Path) -> None:
    save_predictions(*example, tmp_path / "two", num_preds=2)
    assert len(frame_colours(Image.open(tmp_path / "two" / "000.jpg"))) == 3
    save_predictions(*example, tmp_path / "many", num_preds=50)
    assert len(frame_colours(Image.open(tmp_path / "many" / "000.jpg"))) == 4


def test_no_predictions_write_nothing(example: tuple[Evaluation, list[str], list[str]], tmp_path: Path) -> None:
    assert save_predictions(*example, tmp_path / "preds", num_preds=0) == 0
    assert not (tmp_path / "preds").exists()


def test_only_wrong(example: tuple[Evaluation, list[str], list[str]], tmp_path: Path) -> None:
    assert save_predictions(*example, tmp_path / "preds", only_wrong=True) == 1
    assert sorted(path.name for path in (tmp_path / "preds").iterdir()) == ["001.jpg", "001.txt"]


def test_paths_as_text(example: tuple[Evaluation, list[str], list[str]], tmp_path: Path) -> None:
    evaluation, database, queries = example
    save_predictions(evaluation, pl.Series(database), pl.Series(queries), tmp_path / "preds", num_preds=2)
    assert (tmp_path / "preds" / "000.txt").read_text(encoding="utf-8").splitlines() == [
        "Query path:",
        queries[0],
        "",
        "Predictions paths, with their distance from the query:",
        f"3.0 m\tright\t{database[0]}",
        f"2000.0 m\twrong\t{database[2]}",
        "",
        "Positives paths, the database images within 25 m of the query:",
        database[0],
        database[1],
    ]


def test_text_of_a_query_without_positives(tmp_path: Path) -> None:
    evaluation = measure_recalls(np.array([[0]]), np.zeros((1, 2)), np.full((1, 2), 500.0))
    save_predictions(
        evaluation, [write_image(tmp_path / "a.png")], [write_image(tmp_path / "b.png")], tmp_path / "preds"
    )
    assert (tmp_path / "preds" / "000.txt").read_text(encoding="utf-8").endswith("of the query:\nnone\n")


def test_numbers_in_file_names_are_as_long_as_needed(tmp_path: Path) -> None:
    evaluation = measure_recalls(
        np.zeros((1001, 1), dtype=np.int64), np.zeros((1, 2)), np.array([[0.0, 0.0]] * 1000 + [[99.0, 0]])
    )
    image = write_image(tmp_path / "image.png")
    save_predictions(evaluation, [image], [image] * 1001, tmp_path / "preds", num_preds=1, only_wrong=True)
    assert (tmp_path / "preds" / "1000.jpg").is_file()
    evaluation = measure_recalls(
        np.zeros((1001, 1), dtype=np.int64), np.zeros((1, 2)), np.array([[99.0, 0.0]] + [[0.0, 0]] * 1000)
    )
    save_predictions(evaluation, [image], [image] * 1001, tmp_path / "preds", num_preds=1, only_wrong=True)
    assert (tmp_path / "preds" / "0000.jpg").is_file()


def test_unreadable_image_becomes_a_grey_tile(example: tuple[Evaluation, list[str], list[str]], tmp_path: Path) -> None:
    evaluation, database, queries = example
    Path(database[0]).write_bytes(b"no image")
    Path(queries[1]).unlink()
    assert save_predictions(evaluation, database, queries, tmp_path / "preds") == 2
    tile = read_tile(database[0], 200)
    assert tile.size == (200, 200)
    assert tile.getpixel((3, 3)) == TILE_COLOUR


@pytest.mark.parametrize("size", [(1, 1), (900, 3), (3, 900), (2000, 200), (64, 48)])
def test_tiles_of_any_aspect_ratio(size: tuple[int, int], tmp_path: Path) -> None:
    tile = read_tile(write_image(tmp_path / "image.png", BLUE, size), 120)
    assert tile.height == 120
    assert 90 <= tile.width <= 240
    assert (np.asarray(tile) == BLUE).all(axis=2).any()


def test_labels_as_people_read_them() -> None:
    distances = (0.0, 7.06, 99.94, 99.96, 4210.4, 9999.6, 331_400.0)
    labels = ["0.0 m", "7.1 m", "99.9 m", "100 m", "4,210 m", "10 km", "331 km"]
    assert [format_metres(distance) for distance in distances] == labels


def test_a_folder_that_cannot_be_written(example: tuple[Evaluation, list[str], list[str]], tmp_path: Path) -> None:
    (tmp_path / "preds").write_text("a file stands in the way")
    with pytest.raises(ProgeoError, match="Cannot write"):
        save_predictions(*example, tmp_path / "preds")


def test_paths_of_other_images_are_refused(example: tuple[Evaluation, list[str], list[str]], tmp_path: Path) -> None:
    evaluation, database, queries = example
    with pytest.raises(ValueError, match="not of the same images"):
        save_predictions(evaluation, database[:-1], queries, tmp_path)
