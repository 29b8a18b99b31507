"""Fixtures of the place database: a tiny model, the tiny city's photos, a database of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from progeo.data.table import read_photos as read_set
from progeo.models.building import create_model
from progeo.models.files import save_model
from progeo.models.network import PlaceNetwork
from progeo.places import rebuilding
from progeo.places.database import PlaceDatabase

PHOTOS = 24


@pytest.fixture(autouse=True)
def no_reader_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuilding, "SECONDS_TO_NOTICE", 0.0)


def make_network(seed: int = 0, dimension: int = 16) -> PlaceNetwork:
    network = create_model("timm:test_resnet", descriptor_dim=dimension, weights="none", seed=seed).eval()
    network.set_image_size(32)
    return network


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, make_network(), training={}, metrics={}, licence="none")
    return path


@pytest.fixture(scope="session")
def many_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ``PHOTOS`` photos of noise, 10 m apart; not to be changed."""
    folder = tmp_path_factory.mktemp("many_photos")
    generator = np.random.default_rng(0)
    for number in range(PHOTOS):
        pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"@{500005 + 10 * number}@4000005@31@S@@@{number}@@0@@@@@@.jpg")
    return folder


@pytest.fixture(scope="session")
def filled(tiny_city: Path, model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of the tiny city's eight places; not to be changed."""
    folder = tmp_path_factory.mktemp("filled") / "places"
    with PlaceDatabase.create(folder, model_file) as database:
        database.add(read_set(tiny_city / "test/database", tmp_path_factory.mktemp("cache")))
    return folder


@pytest.fixture
def photos(tiny_city: Path, tmp_path: Path) -> Path:
    """A copy of the photos of the tiny city's eight places."""
    return Path(shutil.copytree(tiny_city / "test/database", tmp_path / "photos"))


@pytest.fixture
def database(photos: Path, model_file: Path, tmp_path: Path) -> PlaceDatabase:
    """An empty database."""
    return PlaceDatabase.create(tmp_path / "places", model_file)


@pytest.fixture
def read_photos(tmp_path: Path) -> Callable[[Path], object]:
    return lambda folder: read_set(folder, tmp_path / "cache")
