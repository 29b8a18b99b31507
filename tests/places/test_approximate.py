"""The approximate index: when it is built, and that it agrees with exact search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from lancedb.index import IvfFlat

from progeo.locating.prior import Prior
from progeo.places import approximate, searching, storage
from progeo.places.database import PlaceDatabase

from .conftest import make_network


def add_rows(database: PlaceDatabase, count: int, start: int = 0) -> np.ndarray:
    """Add rows without photos, in clusters of ten; return their descriptors."""
    dimension = database.descriptor_dim
    centres = np.random.default_rng(0).normal(size=(count // 10 + 1, dimension))
    noise = np.random.default_rng(start + 1).normal(size=(count, dimension))
    descriptors = centres[np.arange(count) // 10] + 0.1 * noise
    descriptors = (descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)).astype(np.float16)
    rows = [
        {
            **{"path": f"{number}.jpg", "id": f"{number:032x}", "latitude": 45.0, "longitude": 9.0},
            **{"heading": 90.0 if number % 300 == 7 else 270.0, "descriptor": descriptor},
        }
        for number, descriptor in enumerate(descriptors, start=start)
    ]
    database._tables.photos.add(pa.Table.from_pylist(rows, schema=storage.make_photos_schema(dimension)))
    return descriptors.astype(np.float32)


@pytest.mark.parametrize("dimension", [16, 20], ids=["quantised", "whole"])
def test_an_index_is_built_from_so_many_photos_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dimension: int
) -> None:
    monkeypatch.setattr(approximate, "PHOTOS_TO_INDEX", 600)
    database = PlaceDatabase.create(tmp_path / "places", make_network(dimension=dimension))
    add_rows(database, 500)
    assert database.refresh_index() is None
    assert not database._tables.photos.list_indices()
    descriptors = add_rows(database, 500, start=500)
    assert (
        database.refresh_index()
        == "The approximate index finds the same first photo as exact search in 100 of 100 cases"
    )
    indexed = sorted(index.columns for index in database._tables.photos.list_indices())
    assert indexed == [["cell"], ["descriptor"], ["path"]]
    plan = database._tables.photos.search(descriptors[0], vector_column_name="descriptor").explain_plan()
    assert "ANN" in plan
    for found in (database.search(descriptors[:5], k=3), database.search(descriptors[:5], k=3, exact=True)):
        assert [table["path"][0] for table in found] == [f"{number}.jpg" for number in range(500, 505)]


def test_new_photos_join_the_index_and_many_train_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate, "PHOTOS_TO_INDEX", 400)
    trained = []
    train = approximate.train
    monkeypatch.setattr(approximate, "train", lambda photos, dimension: trained.append(train(photos, dimension)))
    database = PlaceDatabase.create(tmp_path / "places", make_network())
    for start, count, times in ((0, 400, 1), (400, 400, 1), (800, 1000, 2)):
        add_rows(database, count, start)
        database.refresh_index()
        assert len(trained) == times
    for index in database._tables.photos.list_indices():
        assert database._tables.photos.index_stats(index.name).num_unindexed_rows == 0


@pytest.fixture
def coarse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[PlaceDatabase, np.ndarray]:
    """A database with an index of 40 partitions, of which one is searched; and its descriptors."""
    database = PlaceDatabase.create(tmp_path / "places", make_network())
    descriptors = add_rows(database, 1000)
    config = IvfFlat(distance_type="l2", num_partitions=40, sample_rate=25)
    database._tables.photos.create_index("descriptor", config=config, replace=True)
    monkeypatch.setattr(approximate, "count_probes", lambda photos: 1)
    monkeypatch.setattr(searching, "CANDIDATES", 1)
    return database, descriptors


def test_exact_search_leaves_the_index_aside(coarse: tuple[PlaceDatabase, np.ndarray]) -> None:
    database, descriptors = coarse
    distances = np.linalg.norm(descriptors[:20, None] - descriptors, axis=-1)
    nearest = [[f"{row}.jpg" for row in order[:20]] for order in distances.argsort(axis=1)]
    assert [table["path"].to_list() for table in database.search(descriptors[:20], exact=True)] == nearest
    assert [table["path"].to_list() for table in database.search(descriptors[:20])] != nearest


def test_prior_finds_what_fits_wherever_it_is_in_the_index(coarse: tuple[PlaceDatabase, np.ndarray]) -> None:
    database, descriptors = coarse
    for table in database.search(descriptors[:20], prior=Prior(heading=90)):
        assert sorted(table["path"]) == ["307.jpg", "607.jpg", "7.jpg", "907.jpg"]


def test_index_that_another_run_builds_at_once_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate, "PHOTOS_TO_INDEX", 400)
    database = PlaceDatabase.create(tmp_path / "places", make_network())
    add_rows(database, 400)

    def lose(photos: object, dimension: int) -> None:
        raise RuntimeError("lance error: Retryable commit conflict for version 3")

    with monkeypatch.context() as patch:
        patch.setattr(approximate, "train", lose)
        assert "same first photo" in str(database.refresh_index())
    assert database.lacks_index
    database.refresh_index()
    assert not database.lacks_index


def test_agreement_counts_what_differs(tmp_path: Path) -> None:
    database = PlaceDatabase.create(tmp_path / "places", make_network())
    add_rows(database, 300)
    agreed, sample = approximate.measure_agreement(database._tables.photos, database.search)
    assert (agreed, sample) == (100, 100)

    def search_worse(descriptors: np.ndarray, k: int) -> list[object]:
        return [table.tail(1) for table in database.search(descriptors, k + 3)]

    agreed, _ = approximate.measure_agreement(database._tables.photos, search_worse)
    assert agreed == 0


def test_nearest_others_are_those_of_brute_force(tmp_path: Path) -> None:
    database = PlaceDatabase.create(tmp_path / "places", make_network())
    descriptors = add_rows(database, 200)
    distances = np.linalg.norm(descriptors[:, None] - descriptors, axis=-1) + 9 * np.eye(200)
    expected = [f"{number:032x}" for number in distances.argmin(axis=1)]
    ids = [f"{number:032x}" for number in range(200)]
    assert approximate.find_nearest_others(database._tables.photos, ids[:20], descriptors[:20]) == expected[:20]
