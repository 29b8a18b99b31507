"""The state of a phase, and keeping it in one file from which it continues as if it had never stopped."""

from __future__ import annotations

import dataclasses
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from progeo.errors import ProgeoError
from progeo.files import atomic_write, check_file
from progeo.models.files import check_values
from progeo.models.state_dicts import allow_numpy_scalars
from progeo.plain import read_dataclass, read_value

LAST_CHECKPOINT = "last_checkpoint.pth"
FORMAT_VERSION = 2
ADVICE = "To start from a trained model use `resume_model` instead."

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
        try:
            if "phase" not in content:
                content = _convert_first_format(content)
            self._take(content, path)
            return _read_state(content)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            reason = (
                f"{error.args[0]} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())[:300]
            )
            raise explain_damage(path, reason) from error

    def _take(self, content: Mapping[str, Any], path: Path) -> None:
        """Take over weights and the state of the optimisers."""
        phase = read_value(dict[str, torch.Tensor], content["phase"], "phase")
        self.phase.load_state_dict(phase)
        check_values(self.phase, phase, path)
        sources = read_value(list[dict[str, Any]], content["optimizers"], "optimizers")
        for optimizer, source in zip(self.optimizers, sources, strict=True):
            current = [
                {name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups
            ]
            optimizer.load_state_dict(source)
            for group, values in zip(optimizer.param_groups, current, strict=True):
                group.update(values)
            for weight, moments in optimizer.state.items():
                for name, value in moments.items():
                    if isinstance(value, torch.Tensor) and value.shape not in (weight.shape, ()):
                        raise ValueError(f"{name} of an optimiser is {tuple(value.shape)}, not {tuple(weight.shape)}")
        if self.scaler.is_enabled() and content["scaler"]:
            self.scaler.load_state_dict(content["scaler"])


def _read_state(content: Mapping[str, Any]) -> State:
    """Return the state of a phase; ValueError where it cannot be one."""
    names = [one.name for one in dataclasses.fields(State) if one.name in content and one.name != "history"]
    state = read_dataclass(State, {name: content[name] for name in names}, required=("epoch", "step"))
    state.history = read_value(list[dict[str, Any]], content.get("history", []), "history")
    lowest = {"epoch": 0, "step": 0, "best_epoch": -1, "best_recall": -1, "epochs_without_improvement": 0}
    for name, least in lowest.items():
        if getattr(state, name) < least:
            raise ValueError(f"{name} is {getattr(state, name)}")
    if any(values.ndim != 1 or len(values) < state.step for values in state.losses.values()):
        raise ValueError(f"step is {state.step}, but there are not so many losses")
    return state


def read_checkpoint(path: Path, *, mapped: bool = False) -> dict[str, Any]:
    """Return what a checkpoint holds; with ``mapped`` its tensors stay in the file until they are looked at.

    Raises:
        ProgeoError: the file is damaged or no checkpoint.
    """
    try:
        check_file(path)
        with allow_numpy_scalars():  # published checkpoints hold some
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:  # whose advice is to run the file's code
        raise ProgeoError(f"{path} is no checkpoint of this program, or a damaged one. {ADVICE}") from error
    except Exception as error:  # torch raises many kinds on damaged files
        raise explain_damage(path, error) from error
    if not isinstance(content, dict) or not {"options", "groups", "epoch"} <= content.keys():
        published = isinstance(content, dict) and "model_state_dict" in content
        what = "a checkpoint of the published code" if published else "no checkpoint of this program"
        raise ProgeoError(f"{path} is {what}: `resume_train` continues progeo's own runs. {ADVICE}")
    try:
        if read_value(int, content.get("format_version", 1), "format_version") > FORMAT_VERSION:
            raise ProgeoError(f"{path} was written by a later version of progeo. Please update progeo.")
        read_value(dict[str, Any], content["options"], "options")
    except ValueError as error:
        raise explain_damage(path, error) from error
    return content


def explain_damage(path: Path, reason: object) -> ProgeoError:
    """Return the error of a checkpoint that cannot be continued from."""
    said = " ".join(str(reason).split())[:300]
    return ProgeoError(
        f"The checkpoint {path} cannot be read, it may be damaged: {said}. Bring back a copy of it, or start a new run."
    )


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
