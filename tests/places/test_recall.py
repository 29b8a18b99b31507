"""The recall that an evaluation prints is the recall that locating has."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from progeo import cli
from progeo.data.positions import complete_positions
from progeo.data.sphere import measure_distances, to_points
from progeo.data.table import read_photos
from progeo.models.files import save_model
from progeo.places.database import PlaceDatabase

from .conftest import make_network


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One with few dimensions, which finds some places and not others."""
    path = tmp_path_factory.mktemp("model") / "weak.safetensors"
    save_model(path, make_network(dimension=4), training={}, metrics={}, licence="none")
    return path


@pytest.fixture(scope="module")
def test_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty places 30 m apart; the photos have different sizes, and some are JPEGs that are decoded reduced."""
    folder = tmp_path_factory.mktemp("set")
    generator = np.random.default_rng(0)
    for place in range(40):
        pattern = Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        for role in ("database", "queries"):
            (folder / role).mkdir(exist_ok=True)
            width, height = [(48, 40), (64, 64), (900, 700)][(place + (role == "queries")) % 3]
            noise = generator.integers(-60, 60, (height, width, 3))
            pixels = (np.asarray(pattern.resize((width, height), 0)) + noise).clip(0, 255).astype(np.uint8)
            name = f"@{500005 + 30 * place}@4000005@31@S@@@{place}@@0@@@@@@.jpg"
            Image.fromarray(pixels).save(folder / role / name)
    return folder


def test_recall_of_evaluation_and_of_locating(model: Path, test_set: Path, tmp_path: Path) -> None:
    settings = ["--model", str(model), "--cache_folder", str(tmp_path / "cache"), "--device", "cpu"]
    evaluation = ["--test_set_folder", str(test_set), "--no_report", "--save_dir", str(tmp_path / "logs")]
    assert cli.main(["eval", *settings, *evaluation]) == 0
    recalls = json.loads(next(tmp_path.glob("**/results.json")).read_text())["recalls"]
    assert cli.main(["index", str(test_set), *settings, "--database", str(tmp_path / "places")]) == 0
    queries = complete_positions(read_photos(test_set / "queries"))
    truth = to_points(queries["latitude"].to_numpy(), queries["longitude"].to_numpy())
    with PlaceDatabase.open(tmp_path / "places") as database:
        estimates = database.locate(queries["path"].to_list())
    for k in (1, 5):
        right = 0
        for estimate, point in zip(estimates, truth, strict=True):
            matches = estimate.matches[:k]
            places = to_points(
                *(np.array([getattr(match, name) for match in matches]) for name in ("latitude", "longitude"))
            )
            right += bool((measure_distances(places, point) <= 25).any())
        assert recalls[f"R@{k}"] == pytest.approx(100 * right / len(estimates))
    assert 5 < recalls["R@1"] < 95
