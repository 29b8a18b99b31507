"""The best model: the start is a candidate like any epoch, and ``keep_start`` mixes it in."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from progeo.errors import ProgeoError
from progeo.evaluation.evaluate import evaluate
from progeo.models.building import create_model
from progeo.models.files import save_model
from progeo.models.loading import load_model
from progeo.training import train
from progeo.training.best import BEST_MODEL, START_MODEL
from progeo.training.trainer import Trainer

SETTINGS: dict[str, Any] = {
    **{"M": 10, "alpha": 360, "N": 2, "L": 1, "groups_num": 2, "min_images_per_class": 4},
    **{"batch_size": 4, "epochs_num": 2, "iterations_per_epoch": 2, "image_size": 32, "num_workers": 0},
    **{"device": "cpu", "lr": 1e-3, "backbone_weights": "none", "fc_output_dim": 16},
}
BACKBONE = "timm:test_resnet"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def give_recalls(monkeypatch: pytest.MonkeyPatch, *recalls: float) -> list[str]:
    """Let validations give these R@1, one after the other; return what they are called."""
    left, called = list(recalls), []

    def measure(*arguments: Any, description: str, **others: Any) -> Any:
        evaluation = evaluate(*arguments, description=description, **others)
        called.append(description)
        if description == "Testing":
            return evaluation
        return dataclasses.replace(evaluation, errors=evaluation.errors * 0 + (0 if left.pop(0) > 50 else 99))

    monkeypatch.setattr("progeo.training.best.evaluate", measure)
    return called


def read_tensors(path: Path | str) -> dict[str, torch.Tensor]:
    return load_model(path).state_dict()


def test_a_start_that_no_epoch_betters_is_the_result(tiny_city: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = give_recalls(monkeypatch, 100, 0, 0)
    start = create_model(BACKBONE, descriptor_dim=16, weights="none", seed=5)
    sets = {"val": tiny_city / "val", "test": tiny_city / "test"}
    settings = {name: value for name, value in SETTINGS.items() if name != "fc_output_dim"}
    result = train(start, tiny_city / "train", **sets, folder="run", **settings)
    assert called == ["Validating the start", "Validating", "Validating", "Testing"]
    assert result.best_epoch == result.results["best_epoch"] == 0
    assert result.results["start_validation_R@1"] == 100
    kept = read_tensors(f"run/{BEST_MODEL}")
    assert all(torch.equal(kept[name], tensor) for name, tensor in start.state_dict().items())
    log = Path("run/log.txt").read_text()
    assert "Before training: validation R@1: 100.0" in log
    assert "The best model is the start, validation R@1 100.0: no epoch of training was better" in log
    assert load_model(f"run/{BEST_MODEL}").spec.provenance["metrics"]["epoch"] == 0
    assert [row["epoch"] for row in csv.DictReader(Path("run/metrics.csv").read_text().splitlines())] == ["1", "2"]


def test_the_end_says_which_epoch_is_the_best(tiny_city: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give_recalls(monkeypatch, 0, 0, 100)
    result = train(BACKBONE, tiny_city / "train", val=tiny_city / "val", folder="run", **SETTINGS)
    log = Path("run/log.txt").read_text()
    assert result.best_epoch == 2
    assert "The best model is that of epoch 2, validation R@1 100.0; before training it was 0.0" in log


def test_patience_counts_from_the_start(tiny_city: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give_recalls(monkeypatch, 100, *[0] * 9)
    settings = SETTINGS | {"epochs_num": 9, "patience": 2}
    assert len(train(BACKBONE, tiny_city / "train", val=tiny_city / "val", **settings).history) == 2


def test_without_validation_the_last_model_is_the_result(tiny_city: Path) -> None:
    assert train(BACKBONE, tiny_city / "train", **SETTINGS).best_epoch is None


@pytest.mark.parametrize("from_model", [False, True])
def test_keep_start_keeps_the_mean_and_trains_on(tiny_city: Path, from_model: bool) -> None:
    model = BACKBONE
    settings = dict(SETTINGS)
    if from_model:
        save_model("given.safetensors", create_model(BACKBONE, descriptor_dim=16, weights="none", seed=5))
        model, settings = "given.safetensors", settings | {"fc_output_dim": None}
    train(model, tiny_city / "train", folder="plain", **settings)
    train(model, tiny_city / "train", folder="mixed", keep_start=0.5, **settings)
    start, plain, mixed = (
        read_tensors(path) for path in (f"mixed/{START_MODEL}", f"plain/{BEST_MODEL}", f"mixed/{BEST_MODEL}")
    )
    for name, tensor in plain.items():
        if tensor.is_floating_point():
            assert torch.allclose(mixed[name], (tensor + start[name]) / 2, atol=1e-6), name
    assert any(not torch.equal(start[name], tensor) for name, tensor in plain.items())
    trained = [torch.load(f"{run}/last_checkpoint.pth", weights_only=True)["phase"] for run in ("plain", "mixed")]
    assert all(torch.equal(tensor, trained[1][name]) for name, tensor in trained[0].items())
    if from_model:
        given = read_tensors("given.safetensors")
        assert all(torch.equal(given[name], tensor) for name, tensor in start.items())


def test_a_resumed_run_with_keep_start_equals_an_uninterrupted_one(
    tiny_city: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SETTINGS | {"keep_start": 0.5, "val": tiny_city / "val"}
    whole = train(BACKBONE, tiny_city / "train", folder="whole", **settings)
    train_step = Trainer.train_step

    def stopping(self: Trainer, *arguments: Any) -> torch.Tensor:
        if (self.state.epoch, self.state.step) == (1, 1):
            raise KeyboardInterrupt
        return train_step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(BACKBONE, tiny_city / "train", folder="parts", **settings)
    parts = train(BACKBONE, tiny_city / "train", folder="parts", **settings)
    assert (parts.best_epoch, len(parts.history)) == (whole.best_epoch, len(whole.history))
    first, second = read_tensors(f"whole/{BEST_MODEL}"), read_tensors(f"parts/{BEST_MODEL}")
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    Path("parts", START_MODEL).unlink()
    with pytest.raises(ProgeoError, match="`keep_start` needs the model that the run started from.*no parts/start_mod"):
        train(BACKBONE, tiny_city / "train", folder="parts", **settings | {"epochs_num": 3})
    with pytest.raises(ProgeoError, match=r"was started with `keep_start` 0\.5 \(now 0\.0\)"):
        train(BACKBONE, tiny_city / "train", folder="parts", **settings | {"keep_start": 0.0})


def test_batch_norms_of_frozen_stages_keep_their_statistics(tiny_city: Path) -> None:
    start = create_model(BACKBONE, descriptor_dim=16, weights="none", seed=5)
    settings = {name: value for name, value in SETTINGS.items() if name != "fc_output_dim"}
    model = train(start, tiny_city / "train", unfreeze=1, **settings).model
    assert model is not None
    before, moved = start.state_dict(), []
    for name, tensor in model.state_dict().items():
        if name.endswith("running_mean") and not torch.equal(tensor, before[name]):
            moved.append(name)
    assert moved and not any("layer1" in name for name in moved)


@pytest.mark.parametrize(
    ("moved", "message"), [(8, "Validation: no query has a database image within 25 m"), (3, "3 of 8 queries have no")]
)
def test_sets_without_positives_are_said_at_the_start(tiny_city: Path, moved: int, message: str) -> None:
    for part in ("database", "queries"):
        (Path("far") / part).mkdir(parents=True)
        for number, path in enumerate(sorted((tiny_city / "val" / part).iterdir())):
            name = path.name.replace("@4000005@", "@4900005@") if part == "queries" and number < moved else path.name
            (Path("far") / part / name).write_bytes(path.read_bytes())
    train(BACKBONE, tiny_city / "train", val="far", folder="run", **SETTINGS | {"epochs_num": 1})
    log = Path("run/log.txt").read_text()
    assert message in log and log.index(message) < log.index("Before training")
