"""Options of trainings that take a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from progeo.cli.train import TrainOptions

MakeOptions = Callable[..., TrainOptions]


@pytest.fixture()
def make_options(tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeOptions:
    """Return options that train a small model on the tiny city in a second; runs go below tmp_path."""
    monkeypatch.chdir(tmp_path)

    def make(**changes: Any) -> TrainOptions:
        settings: dict[str, Any] = {
            **{name: str(tiny_city / name.split("_")[0]) for name in ("train_set_folder", "val_set_folder")},
            **{"test_set_folder": str(tiny_city / "test"), "backbone_weights": "none", "fc_output_dim": 16},
            **{"M": 10, "alpha": 360, "N": 2, "L": 1, "groups_num": 2, "min_images_per_class": 4},
            **{"batch_size": 4, "epochs_num": 3, "iterations_per_epoch": 2, "image_size": 32, "num_workers": 1},
            **{"device": "cpu", "lr": 1e-3, "backbone": "timm:test_resnet"},
        }
        return TrainOptions(**(settings | changes))

    return make
