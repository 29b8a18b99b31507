"""The state of a training, and keeping it in one file from which it continues as if it had never stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from progeo.cli.train import TrainOptions
from progeo.errors import ProgeoError
from progeo.files import CONFIG, atomic_write
from progeo.models.network import PlaceNetwork
from progeo.training.groups import Group
from progeo.training.losses import CosFaceClassifier

LAST_CHECKPOINT = "last_checkpoint.pth"

# Options that a run must keep to continue: with others the weights would not fit, or the batches would not follow on.
# batch_size is not among them, for a smaller one is how a run goes on that ran out of memory.
KEPT_OPTIONS = (
    *("M", "alpha", "N", "L", "groups_num", "min_images_per_class"),
    *("backbone", "fc_output_dim", "train_all_layers"),
    *("images_per_class", "iterations_per_epoch", "seed"),
    *("text_targets", "text_loss_weight", "soft_triplet", "freeze_cnn", "freeze_trans"),
)


@dataclass
class TrainingState:
    """Everything that changes while training.

    Attributes:
        network: the model.
        optimizer: Adam of the model.
        classifiers: one per group; only the one of the current epoch's group is on the device.
        classifier_optimizers: Adam of each classifier.
        scaler: loss scale of float16 training; passive otherwise.
        losses: float32 (iterations_per_epoch,), losses of the current epoch's steps, on the device.
        epoch: current epoch, from 0.
        step: steps of the current epoch that are done.
        best_recall: best R@1 on the validation set so far, in percent.
        epochs_without_improvement: epochs since then.
        history: one row of figures per finished epoch.
    """

    network: PlaceNetwork
    optimizer: torch.optim.Adam
    classifiers: list[CosFaceClassifier]
    classifier_optimizers: list[torch.optim.Adam]
    scaler: torch.amp.GradScaler
    losses: torch.Tensor
    epoch: int = 0
    step: int = 0
    best_recall: float = -1.0
    epochs_without_improvement: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def describe_groups(groups: list[Group]) -> str:
    """Return a fingerprint of the classes of all groups, in their order, and of how many images each has."""
    digest = hashlib.sha256()
    for group in groups:
        digest.update(group.classes.tobytes())
        digest.update(group.offsets.tobytes())
    return digest.hexdigest()


def save_checkpoint(state: TrainingState, path: Path, options: TrainOptions, groups: list[Group]) -> None:
    """Write the state to ``path``, in place of what stood there.

    Raises:
        ProgeoError: the disk is full or cannot be written; the checkpoint written before is kept.
    """
    content = {
        "options": {name: getattr(options, name) for name in KEPT_OPTIONS},
        "groups": describe_groups(groups),
        "network": state.network.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "classifiers": [classifier.state_dict() for classifier in state.classifiers],
        "classifier_optimizers": [optimizer.state_dict() for optimizer in state.classifier_optimizers],
        "scaler": state.scaler.state_dict(),
        **{
            name: getattr(state, name)
            for name in ("losses", "epoch", "step", "best_recall", "epochs_without_improvement", "history")
        },
    }
    write_checkpoint(path, content)


def load_checkpoint(state: TrainingState, path: Path, options: TrainOptions, groups: list[Group]) -> None:
    """Bring ``state``, freshly made with ``options`` and ``groups``, to where the checkpoint at ``path`` was written.

    Learning rates are those of ``options``, so that a run can continue with others.

    Raises:
        ProgeoError: the file is missing or damaged, or belongs to other options or groups; it says which differ.
    """
    content = read_checkpoint(path, {name: getattr(options, name) for name in KEPT_OPTIONS}, groups)
    state.network.load_state_dict(content["network"])
    for target, source in zip(state.classifiers, content["classifiers"], strict=True):
        target.load_state_dict(source)
    optimizers = zip(
        (state.optimizer, *state.classifier_optimizers),
        (content["optimizer"], *content["classifier_optimizers"]),
        strict=True,
    )
    for optimizer, source in optimizers:
        learning_rate = optimizer.param_groups[0]["lr"]
        optimizer.load_state_dict(source)
        optimizer.param_groups[0]["lr"] = learning_rate
    if state.scaler.is_enabled() and content["scaler"]:
        state.scaler.load_state_dict(content["scaler"])
    state.losses.copy_(content["losses"])
    for name in ("epoch", "step", "best_recall", "epochs_without_improvement", "history"):
        setattr(state, name, content[name])


def find_run(resume_train: str | Path) -> tuple[Path, Path | None]:
    """Return the folder of the run that ``resume_train`` names, and its checkpoint, if it has come to one.

    Args:
        resume_train: a run folder, or a checkpoint in it.

    Raises:
        ProgeoError: there is no run.
    """
    path = Path(resume_train)
    folder, checkpoint = (path, path / LAST_CHECKPOINT) if path.is_dir() else (path.parent, path)
    if checkpoint.is_file():
        return folder, checkpoint
    if path.is_dir() and (path / CONFIG).is_file():
        return folder, None
    raise ProgeoError(
        f"There is no checkpoint {checkpoint}. `resume_train` takes a run folder or its {LAST_CHECKPOINT}."
    )


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write tensors, numbers and texts to ``path``, in place of what stood there.

    Raises:
        ProgeoError: the disk is full or cannot be written; the checkpoint written before is kept.
    """
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # how torch reports that the file took no more bytes
            raise error.__context__ if isinstance(error.__context__, OSError) else OSError(str(error)) from error


def read_checkpoint(path: Path, kept: dict[str, Any], groups: list[Group]) -> Mapping[str, Any]:
    """Read what ``write_checkpoint`` wrote, with ``options`` and ``groups`` in it.

    Args:
        path: the file.
        kept: options that must still have the values they had, by name.
        groups: the groups, which must still be those.

    Raises:
        ProgeoError: the file is damaged or no checkpoint, or belongs to other options or groups; it says which differ.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds on damaged files
        raise ProgeoError(f"The checkpoint {path} cannot be read, it may be damaged: {error}") from error
    if not isinstance(content, dict) or not {"options", "groups", "epoch"} <= content.keys():
        raise ProgeoError(
            f"{path} is no checkpoint of this program. To start from a trained model use `resume_model` instead."
        )
    different = list_differences(content["options"], kept)
    if different:
        raise ProgeoError(
            f"{path} was written with {', '.join(different)}. Resume with the same options, or start a new run."
        )
    if content["groups"] != describe_groups(groups):
        raise ProgeoError(
            f"{path} was written with other classes: the training images have changed since. "
            "Bring back the same training set, or start a new run from the model with `resume_model`."
        )
    return content


def list_differences(written: Mapping[str, Any], kept: Mapping[str, Any]) -> list[str]:
    """Return the options in ``kept`` that were written with other values, as ``name then (now value)``."""
    return [f"`{name}` {written.get(name)} (now {value})" for name, value in kept.items() if written.get(name) != value]


def move_optimizer(optimizer: torch.optim.Adam, device: torch.device) -> None:
    """Move the state of an optimiser, so that idle ones take no memory of the device."""
    for moments in optimizer.state.values():
        for name, value in moments.items():
            # Adam keeps its step counter on the CPU, whatever the device.
            if isinstance(value, torch.Tensor) and name != "step":
                moments[name] = value.to(device)
