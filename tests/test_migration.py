"""What progeo 0.1.0 wrote opens with this version: ``tests/fixtures/progeo-0.1.0.tar.xz``, made by its commands."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from progeo import cli
from progeo.models.loading import load_model
from progeo.places.database import PlaceDatabase
from progeo.training.methods.prompt_file import load_prompts

ARCHIVE = Path(__file__).parent / "fixtures" / "progeo-0.1.0.tar.xz"


@pytest.fixture
def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that 0.1.0 wrote, and the folder of photos that it wrote them about."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def expected(town: Path) -> dict[str, Any]:
    """What 0.1.0 computed with its files."""
    content: dict[str, Any] = json.loads((town / "expected.json").read_text())
    return content


@pytest.mark.parametrize("path", ["model.safetensors", "cosplace/best_model.safetensors"])
def test_model_file(town: Path, expected: dict[str, Any], path: str) -> None:
    model = load_model(town / path)
    if path == "model.safetensors":
        images = torch.linspace(-1, 1, 2 * 3 * 32 * 48).reshape(2, 3, 32, 48)
        with torch.inference_mode():
            np.testing.assert_allclose(model(images), expected["descriptors"], rtol=0, atol=1e-5)
    assert model.preprocessing.image_size == 32


def test_checkpoint_goes_on(town: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--resume_train", "cosplace", "--epochs_num", "2"]) == 0
    results = json.loads((town / "cosplace/results.json").read_text())
    assert results["recalls"]["R@1"] > 50
    assert "Epoch 2/2" in (town / "cosplace/log.txt").read_text()


def test_prompts(town: Path) -> None:
    prompts = load_prompts(town / "progeo/prompts.safetensors")
    assert [tuple(tokens.shape) for tokens in prompts.tokens] == [(8, 4, 384)]


def test_stage_1_goes_on_with_stage_2(town: Path) -> None:
    settings = ["--epochs_num", "1", "--iterations_per_epoch", "1"]
    assert cli.main(["train", "--resume_train", "progeo", "--stage", "2", *settings]) == 0
    assert json.loads((town / "progeo/results.json").read_text())["recalls"]


def test_place_database(town: Path, expected: dict[str, Any]) -> None:
    with PlaceDatabase.open(town / "places") as database:
        assert len(database) == 24
        assert database.calibration is not None
        for estimate, before in zip(
            database.locate(expected["queries"], even_unknown=True), expected["estimates"], strict=True
        ):
            assert (estimate.latitude, estimate.longitude) == (before["latitude"], before["longitude"])
            assert estimate.probability == pytest.approx(before["probability"], abs=0.02)
            assert estimate.matches[0].path == before["matches"][0]["path"]


def test_descriptors_folder(town: Path) -> None:
    """The photos stand elsewhere now, so that descriptors of 0.1.0 are made anew, in place of the old ones."""
    (chunk,) = town.glob("descriptors/*/model.safetensors/database/0.safetensors")
    evaluation = ["eval", "--model", "model.safetensors", "--test_set_folder", "test", "--no_report"]
    assert cli.main([*evaluation, "--descriptors_folder", "descriptors", "--save_dir", "again"]) == 0
    results = json.loads(next(town.glob("logs/again/*/results.json")).read_text())
    assert results["recalls"]["R@1"] == 100.0
    assert chunk.is_file()
