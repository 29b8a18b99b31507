"""CosPlace on several groups side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from progeo.errors import ProgeoError
from progeo.training import train
from progeo.training.methods.cosplace import CosPlace

SETTINGS: dict[str, Any] = {
    **{"M": 10, "alpha": 360, "N": 2, "L": 1, "groups_num": 2, "min_images_per_class": 4},
    **{"batch_size": 4, "epochs_num": 2, "iterations_per_epoch": 2, "image_size": 32, "num_workers": 0},
    **{"device": "cpu", "lr": 1e-3, "backbone_weights": "none", "fc_output_dim": 16},
}
BACKBONE = "timm:test_resnet"


def test_groups_side_by_side_share_each_step(tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, float]] = []
    compute_losses = CosPlace.compute_losses

    def note(self: CosPlace, descriptors: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        losses = compute_losses(self, descriptors, labels)
        seen.append((self.group, losses["classification"].item()))
        return losses

    monkeypatch.setattr(CosPlace, "compute_losses", note)
    settings = SETTINGS | {"parallel_groups": 2, "epochs_num": 1}
    result = train(BACKBONE, tiny_city / "train", folder=tmp_path / "run", **settings)
    assert [group for group, _ in seen] == [0, 1, 0, 1]
    assert result.history[0]["loss"] == pytest.approx(sum(loss for _, loss in seen) / 4)
    content = torch.load(tmp_path / "run" / "last_checkpoint.pth", weights_only=True)
    # Adam keeps moments of what it has trained: the network, and both classifiers.
    assert all(optimizer["state"] for optimizer in content["optimizers"])
    again = train(BACKBONE, tiny_city / "train", folder=tmp_path / "run", **settings | {"epochs_num": 2})
    whole = train(BACKBONE, tiny_city / "train", **settings | {"epochs_num": 2})
    assert [row["loss"] for row in again.history] == [row["loss"] for row in whole.history]


def test_epochs_go_on_with_the_next_groups(tiny_city: Path) -> None:
    settings = SETTINGS | {"min_images_per_class": 1, "epochs_num": 3, "iterations_per_epoch": 1, "N": 2}
    assert [row["group"] for row in train(BACKBONE, tiny_city / "train", **settings).history] == [0, 1, 0]


def test_more_groups_side_by_side_than_there_are(tiny_city: Path) -> None:
    with pytest.raises(ProgeoError, match="`parallel_groups` 3: there are only 2 groups"):
        train(BACKBONE, tiny_city / "train", **SETTINGS, parallel_groups=3)


def test_groups_of_one_class_are_refused(tiny_city: Path) -> None:
    with pytest.raises(ProgeoError, match="4 of 4 groups have one class only.*groups of 1, 1, 1, 1 classes"):
        train(BACKBONE, tiny_city / "train", **SETTINGS | {"N": 20, "groups_num": 4})
