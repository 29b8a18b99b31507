"""A database that calibrates itself: what it can learn, what it cannot, and how long it takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from progeo.data.sphere import EARTH_RADIUS
from progeo.locating.calibration import Calibration
from progeo.locating.default import Examples, calibrate_by_itself
from progeo.locating.evidence import weigh_evidence
from progeo.places import leaving_out
from progeo.places.database import PlaceDatabase
from progeo.places.leaving_out import MOST_SAMPLED, Nearest, compare, draw_sample

Floats = NDArray[np.float64]
METRE = float(np.degrees(1 / EARTH_RADIUS))


def make_photos(places: int, each: int, *, noise: float = 0.3, apart: float = 200.0, seed: int = 0) -> pl.DataFrame:
    """Photos of places in a row, each with a look of its own; ``each`` of a place lie a metre apart."""
    generator = np.random.default_rng(seed)
    looks = np.repeat(generator.normal(size=(places, 32)), each, axis=0)
    looks = looks + noise * generator.normal(size=looks.shape)
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    north = np.repeat(apart * np.arange(places), each) + np.tile(np.arange(each), places)
    return pl.DataFrame(
        {
            "id": [f"{row:06d}" for row in range(len(looks))],
            "latitude": 10 + METRE * north,
            "longitude": np.full(len(looks), 7.0),
            "descriptor": pl.Series(looks.astype(np.float32), dtype=pl.Array(pl.Float32, 32)),
        }
    )


def learn(photos: pl.DataFrame) -> Examples:
    sample = draw_sample(photos.select("id", "latitude", "longitude"))
    batches: Iterator[pl.DataFrame] = photos.iter_slices(1000)
    return compare(sample.join(photos.select("id", "descriptor"), on="id", maintain_order="left"), batches, 20)


def ask(photos: pl.DataFrame, calibration: Calibration, queries: Floats) -> tuple[Floats, list[float]]:
    """The probabilities of queries (Q, 32), and how far north in metres they are placed."""
    looks = photos["descriptor"].to_numpy()
    tables = []
    for query in queries / np.linalg.norm(queries, axis=1, keepdims=True):
        distances = np.linalg.norm(looks - query, axis=1)
        nearest = np.argsort(distances)[:20]
        tables.append(photos[nearest].with_columns(descriptor_distance=distances[nearest]))
    evidence = [weigh_evidence(table) for table in tables]
    norths = [
        float(table["latitude"][int(np.argmin(item.distances))] - 10) / METRE
        for table, item in zip(tables, evidence, strict=True)
    ]
    return calibration.judge(evidence)[0], norths


def test_places_are_left_out_and_found_again() -> None:
    photos = make_photos(40, 3)
    examples = learn(photos)
    assert (examples.places, len(examples.outside), len(examples.inside)) == (40, 120, 120)
    assert examples.found == 120
    outside = np.mean([item.features["best"] for item in examples.outside])
    assert outside > np.mean([item.features["best"] for item in examples.inside])
    calibration = calibrate_by_itself(examples, len(photos))
    assert "120 of 120 photos are found again" in " ".join(calibration.notes)
    generator = np.random.default_rng(1)
    looks = photos["descriptor"].to_numpy()[::3] + 0.05 * generator.normal(size=(40, 32))
    known, norths = ask(photos, calibration, looks)
    assert (known >= 0.5).all()
    np.testing.assert_allclose(norths, 200.0 * np.arange(40), atol=5)
    elsewhere, _ = ask(photos, calibration, generator.normal(size=(40, 32)))
    assert elsewhere.mean() < 0.6 and elsewhere.max() < known.min()


@pytest.mark.parametrize(("places", "each"), [(1, 1), (1, 30), (2, 1), (2, 30)])
def test_one_place_or_two_teach_nothing_and_invent_nothing(places: int, each: int) -> None:
    photos = make_photos(places, each)
    calibration = calibrate_by_itself(learn(photos), len(photos))
    assert calibration.source == "default"
    assert "too few to learn from" in calibration.notes[0]
    elsewhere, _ = ask(photos, calibration, np.random.default_rng(1).normal(size=(40, 32)))
    assert elsewhere.mean() < 0.5 and elsewhere.max() < 0.9


def test_photos_without_overlap_teach_only_what_wrong_looks_like() -> None:
    photos = make_photos(60, 1)
    examples = learn(photos)
    assert (len(examples.outside), len(examples.inside)) == (60, 0)
    calibration = calibrate_by_itself(examples, len(photos))
    assert calibration.source == "database"
    assert "How often photos are found again is not known" in " ".join(calibration.notes)
    elsewhere, _ = ask(photos, calibration, np.random.default_rng(1).normal(size=(100, 32)))
    assert (elsewhere < 0.5).mean() >= 0.75


def test_photos_that_all_look_alike_are_known_nowhere() -> None:
    photos = make_photos(40, 2).with_columns(descriptor=pl.Series(np.ones((80, 32)), dtype=pl.Array(pl.Float32, 32)))
    calibration = calibrate_by_itself(learn(photos), len(photos))
    probabilities, _ = ask(photos, calibration, np.ones((3, 32)))
    assert np.isfinite(probabilities).all() and (probabilities < 0.5).all()


def test_many_photos_take_bounded_time() -> None:
    photos = make_photos(10_000, 2, apart=60.0)
    start = time.perf_counter()
    examples = learn(photos)
    assert time.perf_counter() - start < 60  # about 2 where nothing else runs
    assert len(examples.outside) == len(examples.inside) == MOST_SAMPLED
    assert examples.places > 0.9 * MOST_SAMPLED  # each of another place, as far as there are so many


def test_the_sample_takes_every_place_first_and_depends_on_nothing_but_the_photos() -> None:
    crowded = make_photos(1, 2000).with_columns(id=pl.format("crowd{}", "id"), latitude=pl.lit(11.0))
    photos = pl.concat([crowded, make_photos(50, 1)]).select("id", "latitude", "longitude")
    sample = draw_sample(photos)
    assert len(sample) == MOST_SAMPLED
    assert (~sample["id"].str.starts_with("crowd")).sum() == 50
    assert draw_sample(photos.reverse()).equals(sample)


def test_batches_give_what_all_at_once_gives() -> None:
    photos = make_photos(10, 2)
    distances = np.random.default_rng(0).uniform(size=(3, 20))
    distances[1, 4:] = np.inf
    distances[2] = np.inf
    pieces = Nearest(3, 5)
    for start in range(0, 20, 7):
        pieces.add(distances[:, start : start + 7], photos[start : start + 7].select("latitude", "longitude"))
    found = dict(pieces.read())
    assert set(found) == {0, 1}
    assert found[0]["latitude"].to_list() == photos["latitude"][np.argsort(distances[0])[:5]].to_list()
    assert len(found[1]) == 4


def test_a_database_calibrates_itself(filled: Path, tmp_path: Path, tiny_city: Path) -> None:
    import shutil

    with PlaceDatabase.open(shutil.copytree(filled, tmp_path / "places")) as database:
        calibration = database.calibrate()
        assert calibration.photos == 8
        assert database.calibration == calibration
        assert PlaceDatabase.open(tmp_path / "places").calibration == calibration
        estimates = database.locate(sorted((tiny_city / "test/queries").iterdir()))
        for estimate in estimates:
            assert estimate.calibration == calibration.source
            assert (estimate.latitude is None) == (not estimate.known)


def test_memory_is_bounded_by_batches(monkeypatch: pytest.MonkeyPatch, filled: Path) -> None:
    monkeypatch.setattr(leaving_out, "MOST_COMPARED", 3)
    with PlaceDatabase.open(filled) as database:
        few = leaving_out.locate_own_photos(database._tables.photos, database.address, 20)
        monkeypatch.undo()
        whole = leaving_out.locate_own_photos(database._tables.photos, database.address, 20)
    for item, other in zip([*few.outside, *few.inside], [*whole.outside, *whole.inside], strict=True):
        assert item.features == pytest.approx(other.features, abs=1e-3)
