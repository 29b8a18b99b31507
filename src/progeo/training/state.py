"""The state of a phase, and keeping it in one file from which it continues as if it had never stopped."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from progeo.errors import ProgeoError
from progeo.files import atomic_write

LAST_CHECKPOINT = "last_checkpoint.pth"
FORMAT_VERSION = 2

# Settings that a run must keep to continue: with others the weights would not fit, or the batches would not follow on.
# batch_size is not among them, for a smaller one is how a run goes on that ran out of memory.
KEPT_SETTINGS = (
    *("M", "alpha", "N", "L", "groups_num", "min_images_per_class", "method", "method_arguments"),
    *(
        "backbone_arguments",
        "head_arguments",
        "backbone",
        "head",
        "fc_output_dim",
        "train_all_layers",
        "unfreeze",
        "freeze_cnn",
        "freeze_trans",
    ),
    *("images_per_class", "iterations_per_epoch", "seed", "text_targets", "text_loss_weight", "soft_triplet"),
    *("parallel_groups", "keep_start"),
)


@dataclass
class State:
    """What changes while a phase is trained, beside its weights and its optimisers.

    Attributes:
        epoch: current epoch, from 0.
        step: steps of the current epoch that are done.
        losses: for each named loss, and their sum as ``loss``, float32 (steps of the epoch,).
        start: R@N by N on the validation set before the first step; None where it was not measured.
        best_epoch: the epoch after which the model was best, from 1; 0 is the start, -1 none yet.
        best_recall: R@1 on the validation set then, in percent.
        epochs_without_improvement: epochs since then.
        history: one row of figures per finished epoch.
    """

    epoch: int = 0
    step: int = 0
    losses: dict[str, torch.Tensor] = field(default_factory=dict)
    start: dict[int, float] | None = None
    best_epoch: int = -1
    best_recall: float = -1.0
    epochs_without_improvement: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds beside the state of a phase: its weights, its optimisers, and what they belong to.

    Attributes:
        phase: what is trained.
        optimizers: all that it uses.
        scaler: of float16 training.
        belongs_to: ``options`` and ``groups``, which must be those of a file to continue from it; what else there is
            says what the file is, and is not compared.
    """

    phase: nn.Module
    optimizers: list[torch.optim.Optimizer]
    scaler: torch.amp.GradScaler
    belongs_to: Mapping[str, Any]

    def save(self, path: Path, state: State) -> None:
        """Write the state of the phase to ``path``, in place of what stood there.

        Raises:
            ProgeoError: the disk is full or cannot be written; the checkpoint written before is kept.
        """
        content = {
            "format_version": FORMAT_VERSION,
            **self.belongs_to,
            "phase": self.phase.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "scaler": self.scaler.state_dict(),
            **{one.name: getattr(state, one.name) for one in dataclasses.fields(state)},
        }
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            try:
                torch.save(content, file)
            except RuntimeError as error:  # how torch reports that the file took no more bytes
                raise error.__context__ if isinstance(error.__context__, OSError) else OSError(str(error)) from error

    def load(self, path: Path) -> State:
        """Bring a new phase to where the checkpoint at ``path`` was written, and return its state.

        Learning rates and other settings of the optimisers stay as they are, so that a run can continue with others.

        Args:
            path: a file of ``save``, or of progeo 0.1.0.

        Raises:
            ProgeoError: the file is damaged or no checkpoint, or belongs to other settings or groups; it says which
                differ.
        """
        content = read_checkpoint(path)
        different = list_differences(content["options"], self.belongs_to["options"])
        if different:
            raise ProgeoError(
                f"{path} was written with {', '.join(different)}. Resume with the same options, or start a new run."
            )
        if content["groups"] != self.belongs_to["groups"]:
            raise ProgeoError(
                f"{path} was written with other classes: the training images have changed since. "
                "Bring back the same training set, or start a new run from the model with `resume_model`."
            )
        if "phase" not in content:
            content = _convert_first_format(content)
        self.phase.load_state_dict(content["phase"])
        for optimizer, source in zip(self.optimizers, content["optimizers"], strict=True):
            current = [
                {name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups
            ]
            optimizer.load_state_dict(source)
            for group, values in zip(optimizer.param_groups, current, strict=True):
                group.update(values)
        if self.scaler.is_enabled() and content["scaler"]:
            self.scaler.load_state_dict(content["scaler"])
        return State(**{one.name: content[one.name] for one in dataclasses.fields(State) if one.name in content})


def read_checkpoint(path: Path, *, mapped: bool = False) -> dict[str, Any]:
    """Return what a checkpoint holds; with ``mapped`` its tensors stay in the file until they are looked at.

    Raises:
        ProgeoError: the file is damaged or no checkpoint.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # torch raises many kinds on damaged files
        raise ProgeoError(f"The checkpoint {path} cannot be read, it may be damaged: {error}") from error
    if not isinstance(content, dict) or not {"options", "groups", "epoch"} <= content.keys():
        raise ProgeoError(
            f"{path} is no checkpoint of this program. To start from a trained model use `resume_model` instead."
        )
    if content.get("format_version", 1) > FORMAT_VERSION:
        raise ProgeoError(f"{path} was written by a later version of progeo. Please update progeo.")
    return content


def _convert_first_format(content: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint of progeo 0.1.0, of either stage, in today's form."""
    if "tokens" in content:
        return content | {"phase": {f"prompts.{k}.tokens": tokens for k, tokens in enumerate(content["tokens"])}}
    weights = {f"network.{name}": tensor for name, tensor in content["network"].items()}
    for number, classifier in enumerate(content["classifiers"]):
        weights |= {f"classifiers.{number}.{name}": tensor for name, tensor in classifier.items()}
    return content | {
        "phase": weights,
        "optimizers": [content["optimizer"], *content["classifier_optimizers"]],
        "losses": {"loss": content["losses"]},
    }


def list_differences(written: Mapping[str, Any], kept: Mapping[str, Any]) -> list[str]:
    """Return the settings in ``kept`` that were written with other values, as ``name then (now value)``."""
    return [
        f"`{name}` {written[name]} (now {value})"
        for name, value in kept.items()
        if name in written and written[name] != value
    ]


def move_optimizer(optimizer: torch.optim.Optimizer, device: torch.device | str) -> None:
    """Move the state of an optimiser, so that idle ones take no memory of the device."""
    for moments in optimizer.state.values():
        for name, value in moments.items():
            # Adam keeps its step counter on the CPU, whatever the device.
            if isinstance(value, torch.Tensor) and name != "step":
                moments[name] = value.to(device)
