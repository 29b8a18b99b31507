"""Checkpoints that are damaged, or that somebody else wrote: one message with their name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from progeo.errors import ProgeoError
from progeo.training.state import Checkpoint, State, read_checkpoint


def make_checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    phase = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(phase.parameters())
    phase(torch.ones(1, 3)).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    scaler = torch.amp.GradScaler(enabled=False)
    return Checkpoint(phase, [optimizer], scaler, {"options": {"seed": 0}, "groups": [[1, 2]]})


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    path = tmp_path / "last_checkpoint.pth"
    losses = {"loss": torch.tensor([3.0, 2.0, torch.nan])}
    make_checkpoint().save(path, State(epoch=4, step=2, losses=losses, history=[{"epoch": 1, "loss": 2.0}]))

    def write(change: Callable[[dict[str, Any]], object] = lambda content: None) -> Path:
        content = torch.load(path, weights_only=True)
        change(content)
        torch.save(content, path)
        return path

    return write


def test_a_whole_one_is_continued_from(written: Callable[..., Path]) -> None:
    state = make_checkpoint().load(written())
    assert (state.epoch, state.step, state.history) == (4, 2, [{"epoch": 1, "loss": 2.0}])


@pytest.mark.parametrize(
    "changes",
    [
        *({"epoch": value} for value in (-5, 1.5, "4", None, True, 10**26)),
        *({"step": value} for value in (-1, 3.0, 10**12, None)),
        *({"best_epoch": value} for value in (-2, "x")),
        *({"best_recall": value} for value in ("x", None, float("nan"))),
        *({"history": value} for value in (None, [1], {"a": 1})),
        *({"losses": value} for value in (None, {"loss": 1.0}, {"loss": torch.zeros(1)}, {"loss": torch.zeros(3, 3)})),
        *({"start": value} for value in (3, {"1": 2.0})),
        *({"phase": value} for value in (None, [], {"weight": 3}, {"weight": torch.zeros(2, 3)})),
        {"phase": {"weight": torch.zeros(9, 9), "bias": torch.zeros(2)}},
        {"phase": {"weight": torch.zeros(2, 3, dtype=torch.bool), "bias": torch.zeros(2)}},
        {"phase": {"weight": torch.full((2, 3), torch.nan), "bias": torch.zeros(2)}},
        *({"optimizers": value} for value in (None, [], [{}], [3], [{"state": {}, "param_groups": []}])),
        *({"options": value} for value in (None, [], 3)),
        *({"format_version": value} for value in ("2", None, 2.5)),
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_fields_of_a_wrong_kind_are_damage(changes: dict[str, Any], written: Callable[..., Path]) -> None:
    path = written(lambda content: content.update(changes))
    with pytest.raises(ProgeoError, match="damaged") as raised:
        make_checkpoint().load(path)
    assert str(path) in str(raised.value) and len(str(raised.value)) < 700


@pytest.mark.parametrize("name", ["epoch", "step", "phase", "optimizers", "options", "groups"])
def test_fields_that_are_missing_are_named(name: str, written: Callable[..., Path]) -> None:
    path = written(lambda content: content.pop(name))
    with pytest.raises(ProgeoError, match="damaged|no checkpoint"):
        make_checkpoint().load(path)


def test_moments_of_another_shape_are_damage(written: Callable[..., Path]) -> None:
    def spoil(content: dict[str, Any]) -> None:
        content["optimizers"][0]["state"][0]["exp_avg"] = torch.zeros(7)

    with pytest.raises(ProgeoError, match=r"exp_avg of an optimiser is \(7,\), not \(2, 3\)"):
        make_checkpoint().load(written(spoil))


def test_a_checkpoint_of_cosplace_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "last_checkpoint.pth"
    content = {"epoch_num": 3, "model_state_dict": {"w": torch.zeros(2)}, "best_val_recall1": np.float64(80.5)}
    torch.save(content | {"optimizer_state_dict": {}, "classifiers_state_dict": [{}]}, path)
    with pytest.raises(ProgeoError, match="of the published code.*`resume_model`") as raised:
        read_checkpoint(path)
    assert "damaged" not in str(raised.value)


def test_code_in_a_checkpoint_is_not_run_and_nothing_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return print, ("run",)

    path = tmp_path / "last_checkpoint.pth"
    torch.save({"epoch": Evil()}, path)
    with pytest.raises(ProgeoError, match="no checkpoint of this program"):
        read_checkpoint(path)
    assert capfd.readouterr() == ("", "")
