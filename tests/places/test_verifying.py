"""Re-ranking in a place database: photos that are gone, damaged or kept, and what is learned once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

pytest.importorskip("cv2")

from progeo import cli
from progeo.data.table import read_photos
from progeo.models.building import create_model
from progeo.places.calibrating import calibrate
from progeo.places.database import PlaceDatabase
from progeo.places.photos import read_photo_set
from progeo.search.rerank import no_rerank
from progeo.search.verifier import Verifier
from tests.textures import PLACES, write_set


@pytest.fixture(scope="module")
def textured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set, and a database of it beside it; not to be changed."""
    folder = tmp_path_factory.mktemp("textured")
    photos = write_set(folder / "set")
    network = create_model("timm:test_resnet", descriptor_dim=8, weights="none").eval()
    network.set_image_size(120)
    with PlaceDatabase.create(folder / "places", network) as database:
        database.add(read_photos(photos / "database", folder / "cache"))
    return folder


@pytest.fixture
def place(textured: Path, tmp_path: Path) -> Path:
    """A database of one's own, whose photos are those of the set."""
    return Path(shutil.copytree(textured / "places", tmp_path / "places"))


def search(database: PlaceDatabase, queries: list[Path], rerank: Any) -> list[pl.DataFrame]:
    encoder = database.encoder
    return database.search(
        encoder.encode(queries),
        k=PLACES,
        queries=[lambda path=path: encoder.read(path) for path in queries],
        rerank=rerank,
    )


def queries_of(folder: Path) -> list[Path]:
    return sorted((folder / "set/queries").iterdir())


def count_right(matches: list[pl.DataFrame], queries: list[Path]) -> int:
    return sum(
        Path(table["path"][0]).name.split("@")[1] == query.name.split("@")[1]
        for table, query in zip(matches, queries, strict=True)
    )


def test_matches_say_what_agrees_and_estimates_follow(textured: Path, place: Path, tmp_path: Path) -> None:
    queries = queries_of(textured)
    with PlaceDatabase.open(place) as database:
        reranker = database.create_reranker("sift", cache_folder=tmp_path)
        plain, found = search(database, queries, no_rerank), search(database, queries, reranker)
        assert count_right(found, queries) >= count_right(plain, queries) + 4
        table = found[0]
        assert table.columns[-4:] == ["verified_distance", "inliers", "strength", "coverage"]
        assert (table["verified_distance"].diff().drop_nulls() >= 0).all()
        assert table["inliers"].max() > 20 and table["coverage"].is_between(0, 1).all()
        by_name = database.locate(queries, rerank="sift")
        assert [estimate.matches[0].path for estimate in by_name] == [table["path"][0] for table in found]
        assert database.create_reranker("none") is no_rerank


def test_wrong_pairs_are_compared_once(textured: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with PlaceDatabase.open(place) as database:
        first = database.create_reranker("sift")
    monkeypatch.setattr(Verifier, "learn", lambda *arguments: pytest.fail("it is known"))
    with PlaceDatabase.open(place) as database:
        again = database.create_reranker("sift")
    assert isinstance(first, Verifier) and isinstance(again, Verifier)
    assert again.yardsticks == first.yardsticks and first.yardsticks["sift"] is not None


def test_the_index_learns_so_that_estimates_are_verified_by_default(
    textured: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PlaceDatabase.open(place) as database:
        database.remove([min((textured / "set/database").iterdir())])
    photos, folder = str(textured / "set/database"), ["--cache_folder", str(tmp_path), "--device", "cpu"]
    assert cli.main(["index", photos, "--database", str(place), *folder]) == 0
    monkeypatch.setattr(Verifier, "learn", lambda *arguments: pytest.fail("it is known"))
    with PlaceDatabase.open(place) as database:
        (first,), (same,), (plain,) = (
            database.locate(queries_of(textured)[0], **settings)
            for settings in ({}, {"rerank": "dense"}, {"rerank": "none"})
        )
    assert first.knows_verification is True and plain.knows_verification is None
    assert (first.probability, first.matches) == (same.probability, same.matches)


def test_photos_that_are_gone_are_compared_by_their_thumbnails(
    textured: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    moved = Path(shutil.copytree(textured / "set", tmp_path / "set"))
    network = create_model("timm:test_resnet", descriptor_dim=8, weights="none").eval()
    network.set_image_size(120)
    with PlaceDatabase.create(tmp_path / "places", network) as database:
        database.add(read_photos(moved / "database", tmp_path / "cache"))
        gone, damaged, *_ = sorted((moved / "database").iterdir())
        gone.unlink()
        damaged.write_bytes(b"no photo any more")
        queries = queries_of(textured)[:2]
        reranker = database.create_reranker("sift")
        found = search(database, queries, reranker)
    for table, query in zip(found, queries, strict=True):
        same = table.filter(pl.col("path").str.contains(query.name.split("@")[1], literal=True))
        assert same["inliers"][0] > 20
    assert isinstance(reranker, Verifier) and not reranker.skipped


def test_local_features_are_kept_with_the_database(
    textured: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = queries_of(textured)[:3]
    with PlaceDatabase.open(place) as database:
        expected = search(database, queries, database.create_reranker("dense"))
        photos, size = database.keep_local_features(1000)
        assert photos == PLACES and size > PLACES * 100
        assert database.keep_local_features(1000) == (0, 0)
    monkeypatch.setattr("progeo.search.photo_files.identify_file", lambda path: pytest.fail("the photo is not needed"))
    with PlaceDatabase.open(place) as database:
        found = search(database, queries, database.create_reranker("dense"))
        for table, other in zip(found, expected, strict=True):
            assert table["inliers"].to_list() == other["inliers"].to_list()


@pytest.mark.parametrize("count", [1, 2])
def test_a_database_of_a_place_or_two(
    count: int, textured: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = create_model("timm:test_resnet", descriptor_dim=8, weights="none").eval()
    network.set_image_size(120)
    with PlaceDatabase.create(tmp_path / "places", network) as database:
        database.add(sorted((textured / "set/database").iterdir())[:count])
        assert database.calibrate().source == "default"
        queries = queries_of(textured)[:2]
        plain, found = (database.locate(queries, rerank=name) for name in ("none", "both"))
    assert [estimate.matches[0].path for estimate in found] == [estimate.matches[0].path for estimate in plain]
    assert [estimate.probability for estimate in found] == [estimate.probability for estimate in plain]
    assert caplog.text.count("fewer than 20 pairs of photos that look alike but lie far apart") == 2  # dense and sift


@pytest.mark.parametrize("pixels", [np.zeros((120, 160, 3), np.uint8), np.full((32, 32, 3), 90, np.uint8)])
def test_poor_queries_are_located(pixels: Any, place: Path) -> None:
    with PlaceDatabase.open(place) as database:
        (estimate,) = database.locate(pixels, rerank="both")
    assert len(estimate.matches) == PLACES


def test_calibration_sees_what_estimates_see(textured: Path, place: Path) -> None:
    queries = pl.concat([read_photo_set(textured / "set/queries").table] * 2)
    asked = []

    def rerank(query: Any, candidates: Any, distances: Any) -> Any:
        asked.append(query().shape)
        return np.arange(len(candidates))

    with PlaceDatabase.open(place) as database:
        calibrate(database, read_photo_set(queries), rerank=rerank)
    assert asked == [(120, 160, 3)] * len(queries)
