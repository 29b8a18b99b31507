"""Stage 1: learning the prompts of all classes, both encoders frozen, one group after the other.

Source: Mao and Hu, "ProGEO", ICANN 2024: epoch e trains the prompts of group e modulo the number of groups on the image
features of all the group's images, with Adam and a learning rate that falls to 0 as a cosine over the group's epochs.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric

from progeo.cli.train import TrainOptions
from progeo.console import progress_bar
from progeo.devices import copy_to, derive_seed
from progeo.errors import ProgeoError
from progeo.files import write_csv
from progeo.models.text import TextTower
from progeo.training.checkpoint import describe_groups, move_optimizer, read_checkpoint, write_checkpoint
from progeo.training.fabric import get_scaler
from progeo.training.groups import Group
from progeo.training.interrupt import Interruption
from progeo.training.losses import contrast_images_and_texts
from progeo.training.methods.image_features import Features
from progeo.training.methods.prompts import Prompts, PromptTemplate, compute_text_features

STAGE1_CHECKPOINT = "stage1_checkpoint.pth"
STAGE1_METRICS = "stage1_metrics.csv"
SECONDS_BETWEEN_CHECKPOINTS = 20.0
FEWEST_IMAGES_TO_HOLD_OUT = 4

# Options that stage 1 must keep to continue. Batch size and rate are not among them: lower ones are how a run goes on
# that ran out of memory or out of bounds.
KEPT_OPTIONS = ("prompt_template", "epochs_num_stage1", "held_out_images", "seed")


@dataclass(frozen=True)
class GroupFeatures:
    """The image features of a group: those to learn from, and those held out to measure with.

    Attributes:
        features: float16 (I, D), mapped into memory, all readable or not.
        labels: int64 (I,), the class of each image.
        training: rows to learn from.
        held_out: rows to measure with, at most one of a class.
    """

    features: Features
    labels: npt.NDArray[np.int64]
    training: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.int64]


@dataclass
class PromptState:
    """Everything that changes in stage 1.

    Attributes:
        prompts: one module per group.
        optimizers: Adam of each.
        scaler: loss scale of float16 training; passive otherwise.
        epoch: the next epoch, from 0.
        history: one row of figures per finished epoch.
    """

    prompts: list[Prompts]
    optimizers: list[torch.optim.Adam]
    scaler: torch.amp.GradScaler
    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def split_features(features: Features, groups: list[Group], held_out_images: int, seed: int) -> list[GroupFeatures]:
    """Share the features of all groups' images, group after group, out to the groups, and hold some out.

    One image of a class that has at least four is held out, of ``held_out_images`` classes at most, drawn at random.
    Images that could not be read (features NaN) are left out.
    """
    shares = []
    start = 0
    share_of = held_out_images / max(1, sum(len(group) for group in groups))
    for number, group in enumerate(groups):
        share = features[start : start + len(group.images)]
        start += len(group.images)
        labels = np.repeat(np.arange(len(group)), np.diff(group.offsets))
        readable = np.flatnonzero(~np.isnan(share[:, 0]))
        generator = np.random.default_rng((seed, number))
        shuffled = generator.permutation(readable)
        large = np.bincount(labels[readable], minlength=len(group)) >= FEWEST_IMAGES_TO_HOLD_OUT
        _, first = np.unique(labels[shuffled], return_index=True)
        candidates = shuffled[first][large[labels[shuffled[first]]]]
        count = min(len(candidates), math.ceil(share_of * len(group)))
        held_out = np.sort(generator.permutation(candidates)[:count])
        shares.append(GroupFeatures(share, labels, np.setdiff1d(readable, held_out), held_out))
    return shares


def create_prompt_state(
    text: TextTower, groups: list[Group], template: PromptTemplate, options: TrainOptions, fabric: Fabric
) -> PromptState:
    """Return the state before the first step: new tokens, on the CPU, and their optimisers."""
    torch.manual_seed(derive_seed(options.seed, 1))
    prompts = [Prompts(template, text, len(group)) for group in groups]
    return PromptState(
        prompts=prompts,
        optimizers=[torch.optim.Adam(group.parameters(), lr=options.lr_stage1) for group in prompts],
        scaler=get_scaler(fabric),
    )


def save_prompt_state(state: PromptState, path: Path, options: TrainOptions, groups: list[Group]) -> None:
    """Write the state to ``path``, in place of what stood there."""
    write_checkpoint(
        path,
        {
            "options": {name: getattr(options, name) for name in KEPT_OPTIONS},
            "groups": describe_groups(groups),
            "tokens": [group.tokens.detach() for group in state.prompts],
            "optimizers": [optimizer.state_dict() for optimizer in state.optimizers],
            "scaler": state.scaler.state_dict(),
            "epoch": state.epoch,
            "history": state.history,
        },
    )


def load_prompt_state(state: PromptState, path: Path, options: TrainOptions, groups: list[Group]) -> None:
    """Bring a new state to where the checkpoint at ``path`` was written.

    Raises:
        ProgeoError: the file is damaged, or belongs to other options or groups.
    """
    kept = {name: getattr(options, name) for name in KEPT_OPTIONS}
    content = read_checkpoint(path, kept, groups)
    for group, tokens in zip(state.prompts, content["tokens"], strict=True):
        group.tokens.data.copy_(tokens)
    for optimizer, source in zip(state.optimizers, content["optimizers"], strict=True):
        optimizer.load_state_dict(source)
    if state.scaler.is_enabled() and content["scaler"]:
        state.scaler.load_state_dict(content["scaler"])
    state.epoch, state.history = content["epoch"], content["history"]


class PromptTraining:
    """Learns the prompts of all groups, epoch by epoch."""

    def __init__(
        self,
        state: PromptState,
        text: TextTower,
        groups: list[Group],
        shares: list[GroupFeatures],
        options: TrainOptions,
        fabric: Fabric,
    ) -> None:
        """Keep what stage 1 needs; ``text`` is on the device, frozen and in evaluation mode."""
        self.state = state
        self.text = text
        self.groups = groups
        self.shares = shares
        self.options = options
        self.fabric = fabric
        # Each group has its own course from the full rate to 0; the first groups may have one epoch more.
        self.epochs_per_group = max(1, options.epochs_num_stage1 // len(groups))

    def train(self, folder: Path, interruption: Interruption) -> None:
        """Do the epochs that are still to be done, and leave checkpoints in ``folder``.

        Raises:
            KeyboardInterrupt: a stop was asked for; the epoch in flight was finished, and is in the checkpoint.
            ProgeoError: the loss is not finite.
        """
        state, options = self.state, self.options
        checkpoint = folder / STAGE1_CHECKPOINT
        last_checkpoint = time.monotonic()
        with progress_bar("loss {task.fields[loss]}") as progress:
            task = progress.add_task("Prompts", total=options.epochs_num_stage1, completed=state.epoch, loss="")
            while state.epoch < options.epochs_num_stage1:
                loss = self.train_epoch()
                progress.update(task, advance=1, loss=f"{loss:.3f}")
                if time.monotonic() - last_checkpoint > SECONDS_BETWEEN_CHECKPOINTS or interruption.requested:
                    save_prompt_state(state, checkpoint, options, self.groups)
                    last_checkpoint = time.monotonic()
                interruption.raise_if_requested()
        save_prompt_state(state, checkpoint, options, self.groups)
        write_csv(folder / STAGE1_METRICS, state.history)

    def train_epoch(self) -> float:
        """Go once through the features of the current epoch's group, in random order; return the mean loss."""
        state, options = self.state, self.options
        number = state.epoch % len(self.groups)
        prompts, optimizer, share = state.prompts[number], state.optimizers[number], self.shares[number]
        prompts.to(self.fabric.device)
        move_optimizer(optimizer, self.fabric.device)
        rate = self.learning_rate(state.epoch // len(self.groups))
        optimizer.param_groups[0]["lr"] = rate
        start = time.monotonic()
        order = np.random.default_rng((options.seed, 1, state.epoch)).permutation(share.training)
        losses = []
        for first in range(0, len(order), options.batch_size_stage1):
            rows = order[first : first + options.batch_size_stage1]
            losses.append(self.train_step(prompts, optimizer, share.features[rows], share.labels[rows]))
        loss = float(torch.stack(losses).mean())
        if not math.isfinite(loss) or not prompts.tokens.isfinite().all():
            raise ProgeoError(
                f"Stage 1 runs out of bounds: in epoch {state.epoch + 1} the loss is {loss}, or prompts are no longer "
                "finite. Lower `lr_stage1`."
            )
        prompts.to("cpu")
        move_optimizer(optimizer, torch.device("cpu"))
        state.history.append(
            {"epoch": state.epoch + 1, "group": number, "loss": loss, "lr": rate, "seconds": time.monotonic() - start}
        )
        state.epoch += 1
        return loss

    def learning_rate(self, epoch: int) -> float:
        """Return the rate of a group's epoch, from 0: a cosine from ``lr_stage1`` to 0."""
        return float(self.options.lr_stage1) * (1 + math.cos(math.pi * epoch / self.epochs_per_group)) / 2

    def train_step(
        self,
        prompts: Prompts,
        optimizer: torch.optim.Adam,
        features: Features,
        labels: npt.NDArray[np.int64],
    ) -> torch.Tensor:
        """Do one step on image features (B, D) of classes (B,); return its loss, a scalar on the device."""
        loss = self.compute_loss(prompts, features, labels)
        optimizer.zero_grad()
        self.fabric.backward(loss)
        self.state.scaler.step(optimizer)
        self.state.scaler.update()
        return loss.detach()

    def compute_loss(self, prompts: Prompts, features: Features, labels: npt.NDArray[np.int64]) -> torch.Tensor:
        """Return the loss of image features (B, D) of classes (B,): both directions, each text computed once."""
        device = self.fabric.device
        classes, positions = np.unique(labels, return_inverse=True)
        image_features = copy_to(torch.from_numpy(np.asarray(features)), device).float()
        with self.fabric.autocast():
            text_features = self.text(prompts(copy_to(torch.from_numpy(classes), device)))
        image_to_text, text_to_image = contrast_images_and_texts(
            image_features, text_features, copy_to(torch.from_numpy(positions), device)
        )
        return image_to_text + text_to_image

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Return how well prompts find held-out images: of each text, is the image that fits it best of its class?

        The images to choose from are those held out of the same group; chance is one in their number.
        """
        right, total, chance = 0, 0, 0.0
        for prompts, share in zip(self.state.prompts, self.shares, strict=True):
            if len(share.held_out) == 0:
                continue
            labels = torch.from_numpy(share.labels[share.held_out])
            texts = compute_text_features(prompts, self.text).cpu()[labels]
            images = torch.from_numpy(share.features[share.held_out].astype(np.float32))
            best = (texts @ images.T).argmax(dim=1)
            right += int((best == torch.arange(len(labels))).sum())
            total += len(labels)
            chance += 1.0
        if not total:
            return {}
        return {"R@1": 100 * right / total, "chance": 100 * chance / total, "held_out_images": total}


def describe_measure(measured: dict[str, Any]) -> str:
    """Say what ``PromptTraining.measure`` found."""
    if not measured:
        return "No image was held out, so the prompts are not measured"
    return (
        f"Prompts find the held-out image of their own class in {measured['R@1']:.1f} % of "
        f"{measured['held_out_images']} cases (chance {measured['chance']:.1f} %)"
    )
