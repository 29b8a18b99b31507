"""Metric learning on places and on cells: batches, what is refused, and that it learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from progeo.data.table import read_photos
from progeo.errors import ProgeoError
from progeo.training import train
from progeo.training.method import ImagePhase, Run
from progeo.training.methods.metric import MetricPhase

SETTINGS: dict[str, Any] = {
    **{"method": "metric", "N": 1, "L": 1, "M": 10, "alpha": 360, "groups_num": 1, "images_per_class": 2},
    **{"batch_size": 8, "epochs_num": 2, "iterations_per_epoch": 2, "image_size": 32, "num_workers": 0},
    **{"device": "cpu", "lr": 1e-3, "backbone_weights": "none", "fc_output_dim": 16, "hue": 0.1},
}
BACKBONE = "timm:test_resnet"


def test_it_learns_with_adamw_and_a_falling_rate(tiny_city: Path) -> None:
    longer = SETTINGS | {"epochs_num": 3, "iterations_per_epoch": 6}
    result = train(BACKBONE, tiny_city / "train", val=tiny_city / "val", test=tiny_city / "test", **longer)
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert result.results["recalls"]["R@1"] >= 50
    assert result.model is not None
    told = result.model.spec.provenance["training"]
    assert (told["optimizer"], told["schedule"], told["min_images_per_class"]) == ("adamw", "linear", 2)


def test_a_batch_holds_different_places_and_different_photos_of_each(
    tiny_city: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[tuple[int, int]]] = []
    draw = MetricPhase.draw

    def note(self: MetricPhase, *arguments: Any) -> Any:
        for batch in draw(self, *arguments):
            drawn.append(batch)
            yield batch

    monkeypatch.setattr(MetricPhase, "draw", note)
    train(BACKBONE, tiny_city / "train", **SETTINGS | {"iterations_per_epoch": 4})
    for batch in drawn:
        places, counts = np.unique([place for place, _ in batch], return_counts=True)
        assert len(places) == 4 and set(counts) == {2}
        assert len(set(batch)) == 8


def test_places_of_a_column_are_compared(tiny_city: Path) -> None:
    table = read_photos(tiny_city / "train").with_columns(place=pl.Series(np.arange(32) // 4))
    settings = {name: value for name, value in SETTINGS.items() if name not in ("M", "alpha", "N", "L")}
    first, second = (train(BACKBONE, table, **settings).history for _ in range(2))
    assert [row["loss"] for row in first] == [row["loss"] for row in second]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images_per_class": 5, "batch_size": 10}, "`images_per_class` 5 is more than any place has.*of 8 has 4"),
        ({"images_per_class": 1}, "`images_per_class` 1 gives `method` metric no two photos"),
        ({"images_per_class": 4, "batch_size": 4}, "`batch_size` 4 holds 1 place of 4 photos.*`batch_size` 8 or more"),
        ({"batch_size": 32}, "needs 16 different places, but a group has 8: use `batch_size` 16 or less"),
        ({"batch_size": 9}, "`batch_size` 9 is no multiple of `images_per_class` 2"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tiny_city: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ProgeoError, match=message):
        train(BACKBONE, tiny_city / "train", **SETTINGS | changes)


def test_places_without_a_second_photo_are_refused(tiny_city: Path) -> None:
    table = read_photos(tiny_city / "train").gather_every(4).with_columns(place=pl.Series(range(8)))
    settings = {name: value for name, value in SETTINGS.items() if name not in ("M", "alpha", "N", "L")}
    with pytest.raises(ProgeoError, match="none of these 8 places has two.*a column place"):
        train(BACKBONE, table, **settings)


def test_without_the_library_one_line_names_the_extra(tiny_city: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pytorch_metric_learning.losses", None)
    with pytest.raises(ProgeoError, match=r'`method` metric needs pytorch_metric_learning.*\[train\]"'):
        train(BACKBONE, tiny_city / "train", **SETTINGS)


def test_the_loss_is_that_of_the_paper(tiny_city: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against equations 9 to 12 written out, over all pairs that the miner of the paper keeps."""
    phases: list[MetricPhase] = []
    made = ImagePhase.__init__

    def keep(self: MetricPhase, run: Run) -> None:
        made(self, run)
        phases.append(self)

    monkeypatch.setattr(ImagePhase, "__init__", keep)
    train(BACKBONE, tiny_city / "train", **SETTINGS | {"epochs_num": 1, "iterations_per_epoch": 1})
    torch.manual_seed(0)
    descriptors = torch.nn.functional.normalize(torch.randn(8, 5), dim=1)
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    similar, same = descriptors @ descriptors.T, labels[:, None] == labels[None]
    expected = []
    for row in range(8):
        positives, negatives = same[row].clone(), ~same[row]
        positives[row] = False
        hard_negatives = similar[row][negatives][similar[row][negatives] + 0.1 > similar[row][positives].min()]
        hard_positives = similar[row][positives][similar[row][positives] - 0.1 < similar[row][negatives].max()]
        expected.append(
            torch.log1p((-hard_positives).exp().sum()) + torch.log1p((50 * hard_negatives).exp().sum()) / 50
        )
    loss = phases[0].compute_losses(descriptors, labels)["multi_similarity"]
    assert loss.item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)
