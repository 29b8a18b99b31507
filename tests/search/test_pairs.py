"""Pairs for reconstruction: which, and that the programs read them."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from progeo import cli
from progeo.errors import ProgeoError
from progeo.models.files import save_model
from progeo.search.pairs import check_names, find_pairs, find_query_pairs, write_descriptors

from ..places.conftest import make_network

NAMES = ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"]
ANGLES = np.radians([0, 10, 90, 110])
DESCRIPTORS = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32)


def names_of(pairs: list[object]) -> list[tuple[str, str]]:
    return [(pair.first, pair.second) for pair in pairs]  # type: ignore[attr-defined]


def test_each_pair_once_and_none_with_itself() -> None:
    assert names_of(find_pairs(NAMES, DESCRIPTORS, top=1)) == [(NAMES[0], NAMES[1]), (NAMES[2], NAMES[3])]
    pairs = find_pairs(NAMES, DESCRIPTORS, top=20)
    assert len(pairs) == 6
    assert pairs[0].similarity == pytest.approx(np.cos(np.radians(10)), abs=1e-5)
    assert len(find_pairs(NAMES, DESCRIPTORS, top=20, min_similarity=0.5)) == 2


def test_far_photos_are_no_pair_where_both_positions_are_known() -> None:
    points = np.array([[0.0, 0, 0], [500, 0, 0], [3, 0, 0], [np.nan] * 3])
    pairs = find_pairs(NAMES, DESCRIPTORS, top=1, points=points, max_distance=100)
    assert names_of(pairs) == [(NAMES[0], NAMES[2]), (NAMES[1], NAMES[3]), (NAMES[2], NAMES[3])]


def test_neighbours_in_time_are_added() -> None:
    pairs = find_pairs(NAMES, DESCRIPTORS, top=1, order=[3, 0, 2, 1], neighbours=1)
    assert set(names_of(pairs)) >= {(NAMES[0], NAMES[3]), (NAMES[0], NAMES[2]), (NAMES[1], NAMES[2])}


def test_queries_with_the_database() -> None:
    pairs = find_query_pairs(NAMES, DESCRIPTORS, ["q.jpg", NAMES[3]], DESCRIPTORS[[2, 3]], top=2)
    assert names_of(pairs) == [("q.jpg", NAMES[2]), ("q.jpg", NAMES[3]), (NAMES[3], NAMES[2]), (NAMES[3], NAMES[1])]


def test_names_with_blanks_are_refused() -> None:
    with pytest.raises(ProgeoError, match=r"1 of 2 names hold blanks.*'a b.jpg'.*rename"):
        check_names(["a b.jpg", "c.jpg"])


def test_descriptors_as_hloc_keeps_them(tmp_path: Path) -> None:
    """Read and compared as hloc's pairs_from_retrieval does."""
    h5py = pytest.importorskip("h5py")
    write_descriptors(NAMES, DESCRIPTORS, tmp_path / "feats.h5")
    found: list[str] = []
    with h5py.File(tmp_path / "feats.h5", "r") as file:
        file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
        found = sorted({name.rpartition("/")[0] for name in found})
        rows = np.stack([file[name]["global_descriptor"][()] for name in found]).astype(np.float32)
    assert found == NAMES
    similarity = rows @ rows.T - 2 * np.eye(4)
    assert similarity.argmax(axis=1).tolist() == [1, 0, 3, 2]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, make_network(), training={}, metrics={}, licence="none")
    return str(path)


@pytest.fixture
def images(tiny_city: Path, tmp_path: Path) -> Path:
    for number, photo in enumerate(sorted((tiny_city / "test/database").iterdir())):
        target = tmp_path / f"images/{'left' if number < 4 else 'right'}/{number}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, target)
    return tmp_path / "images"


def run(*arguments: str | Path, code: int = 0) -> None:
    assert cli.main(["pairs", *map(str, arguments), "--device", "cpu"]) == code


def parse_retrieval(path: Path) -> list[tuple[str, str]]:
    """As hloc does: exactly two words a line."""
    pairs = []
    for line in path.read_text(encoding="utf-8").rstrip("\n").split("\n"):
        first, second = line.split()
        pairs.append((first, second))
    return pairs


def test_command(images: Path, model: str, tmp_path: Path) -> None:
    out, scores = tmp_path / "pairs.txt", tmp_path / "scores.csv"
    run(images, "--model", model, "--out", out, "--top", "2", "--sequence", "1", "--scores", scores,
        "--descriptors", tmp_path / "feats.h5")  # fmt: skip
    pairs = parse_retrieval(out)
    assert len(pairs) == len({frozenset(pair) for pair in pairs}) >= 8
    assert ("left/0.jpg", "left/1.jpg") in pairs and ("left/3.jpg", "right/4.jpg") in pairs
    with scores.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["first"], row["second"]) for row in rows] == pairs
    assert all(-1 <= float(row["similarity"]) <= 1 for row in rows)


def test_command_with_queries(images: Path, model: str, tmp_path: Path) -> None:
    run(images, "--queries", images / "left", "--model", model, "--out", tmp_path / "pairs.txt", "--top", "3")
    pairs = parse_retrieval(tmp_path / "pairs.txt")
    assert len(pairs) == 12
    assert all(query.startswith("left/") and partner.startswith("right/") for query, partner in pairs)


def test_pycolmap_takes_the_pairs(images: Path, model: str, tmp_path: Path) -> None:
    """COLMAP matches the images of these pairs, and no others."""
    pycolmap = pytest.importorskip("pycolmap")
    run(images, "--model", model, "--out", tmp_path / "pairs.txt", "--top", "1")
    picture = Image.effect_noise((160, 120), 80).convert("RGB")  # what all of them show, so that all pairs match
    for photo in images.rglob("*.jpg"):
        picture.save(photo)
    database = tmp_path / "database.db"
    pycolmap.extract_features(database, images)
    options = pycolmap.ImportedPairingOptions()
    options.match_list_path = str(tmp_path / "pairs.txt")
    pycolmap.match_image_pairs(database, pairing_options=options)
    with pycolmap.Database.open(database) as opened:
        names = {image.image_id: image.name for image in opened.read_all_images()}
        matched = {tuple(sorted(names[i] for i in pair)) for pair in map(read_pair, opened.read_all_matches()[0])}
    assert matched == {tuple(sorted(pair)) for pair in parse_retrieval(tmp_path / "pairs.txt")}


def read_pair(pair_id: int) -> tuple[int, int]:
    """COLMAP's number of a pair."""
    return pair_id // 2147483647, pair_id % 2147483647


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "There is no folder nowhere"),
        (["IMAGES", "--queries", "IMAGES"], "are queries: there is nothing to pair them with"),
        (["IMAGES", "--queries", "IMAGES/left", "--sequence", "2"], "leave out --queries or --sequence"),
    ],
)
def test_command_refuses(
    arguments: list[str], message: str, images: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(*(word.replace("IMAGES", str(images)) for word in arguments), "--model", model, code=2)
    assert message in " ".join(capsys.readouterr().err.split())


def test_photos_that_cannot_be_read(
    images: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "left/0.jpg").write_bytes(b"nothing")
    run(images, "--model", model, "--out", tmp_path / "pairs.txt", code=2)
    assert "left/0.jpg cannot be read" in " ".join(capsys.readouterr().err.split())
    assert not any("left/0.jpg" in pair for pair in parse_retrieval(tmp_path / "pairs.txt"))
