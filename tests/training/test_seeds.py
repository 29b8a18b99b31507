"""Several seeds: what fails stops nothing else, and what is averaged is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from progeo import cli
from progeo.errors import ProgeoError
from progeo.training.seeds import check_seeds, summarise_seeds
from progeo.training.trainer import Trainer


@pytest.fixture
def run(tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.chdir(tmp_path)
    sets = [f"--{part}_set_folder={tiny_city / part}" for part in ("train", "val", "test")]
    small = (
        "--backbone timm:test_resnet --backbone_weights none --fc_output_dim 16 --M 10 --alpha 360 --N 2 --L 1 "
        "--groups_num 2 --min_images_per_class 4 --batch_size 4 --epochs_num 1 --iterations_per_epoch 1 "
        "--image_size 32 --num_workers 0 --device cpu"
    )
    return lambda *options: cli.main(["train", *sets, *small.split(), *options])


def test_a_seed_that_fails_stops_no_other(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train_step = Trainer.train_step

    def failing(self: Trainer, *arguments: Any) -> torch.Tensor:
        if self.run.settings.seed == 1:
            raise ProgeoError("The loss is nan.")
        return train_step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", failing)
        assert run("--seeds", "1", "2") == 2
    output = " ".join(capsys.readouterr().err.split())
    assert "1 seed failed, 1 done. Seed 1: The loss is nan." in output
    assert "continue with: progeo train --resume_train logs/default/" in output
    assert "±" not in output and "Test, seed 2 alone: R@1" in output
    (folder,) = Path("logs/default").iterdir()
    assert json.loads((folder / "results.json").read_text())["seeds"] == [2]
    assert cli.main(["train", "--resume_train", str(folder)]) == 0
    assert json.loads((folder / "results.json").read_text())["seeds"] == [1, 2]


def test_a_seed_given_twice_is_an_error(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--seeds", "3", "1", "3") == 2
    assert "--seeds names 3 twice" in capsys.readouterr().err
    assert not Path("logs").exists()
    check_seeds([1, 2])


def test_one_test_has_no_deviation(tmp_path: Path) -> None:
    summary = summarise_seeds({4: {"recalls": {"R@1": 50.0}}}, tmp_path)
    assert summary["recalls_standard_deviation"] == {"R@1": None}
