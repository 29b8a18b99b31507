"""A phase: something that is trained in epochs of steps, with its batches, its named losses and its optimisers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import nn

from progeo.console import format_count
from progeo.devices import copy_to, derive_seed
from progeo.models.network import PlaceNetwork
from progeo.training import ranks
from progeo.training.augmentation import WHOLE, Augmentation
from progeo.training.groups import Group
from progeo.training.overview import count_parameters, estimate_memory, estimate_time, format_overview, measure_step
from progeo.training.sampling import Batch, BatchReader, draw_batches
from progeo.training.settings import TrainSettings
from progeo.training.state import LAST_CHECKPOINT, State

Optimizers = list[torch.optim.Optimizer]
GroupBatches = list[tuple[int, Batch, int]]
"""What a step trains on: of each group its number, its photos, and the seed of their augmentation."""

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": partial(torch.optim.SGD, momentum=0.9),
}


@dataclass
class Run:
    """What a method works with.

    Attributes:
        settings: all settings, with nothing left open.
        table: the training images.
        groups: their classes, which rows of ``table`` each has; epoch e trains on group e modulo their number.
        network: the model that is trained, on the CPU.
        fabric: Lightning Fabric: device and precision.
        folder: where everything goes; it is there when phases are made.
        earlier: the folder of a run that goes on, the same one; None in a new run.
        checkpoint: where to continue, if not at the last checkpoint in the folder.
    """

    settings: TrainSettings
    table: pl.DataFrame
    groups: list[Group]
    network: PlaceNetwork
    fabric: Fabric
    folder: Path
    earlier: Path | None = None
    checkpoint: Path | None = None

    @property
    def device(self) -> torch.device:
        """Where to compute."""
        return self.fabric.device


class Phase(nn.Module):
    """Something that is trained in epochs of steps. Its losses have names, and their sum is minimised.

    Everything random follows from seed, epoch and step, so that a run that goes on is one that never stopped.

    Attributes:
        name: of its files; the last phase of a method has none.
        title: what the progress bar calls it.
        gives_model: whether it trains the network, which is validated after each epoch, and the best one kept.
        seconds_between_checkpoints: how often to write one, at the end of an epoch; 0 writes one after each.
        kept: settings with which alone it can continue.
        remedy, memory_remedy: what to lower where it runs out of bounds, or out of memory.
        optimizers: all that it uses.
        local_steps: steps that each rank trains on a group of its own before the weights are averaged; 0 in common.
        history: the figures of its finished epochs.
    """

    name = ""
    title = "Epoch"
    gives_model = False
    seconds_between_checkpoints = 0.0
    kept: tuple[str, ...] = ()
    local_steps = 0
    remedy = "lower `lr`"
    memory_remedy = "lower `batch_size`, `infer_batch_size` or `image_size`, or use `use_amp16`"

    def __init__(self, run: Run) -> None:
        """Make what is trained; a phase moves its own weights to ``run.device``."""
        super().__init__()
        self.run = run
        self.optimizers: Optimizers = []
        self.history: list[dict[str, float]] = []

    @property
    def checkpoint(self) -> str:
        """Name of its checkpoint in the run folder."""
        return f"{self.name}_checkpoint.pth" if self.name else LAST_CHECKPOINT

    @property
    def metrics(self) -> str:
        """Name of its table of figures in the run folder."""
        return f"{self.name}_metrics.csv" if self.name else "metrics.csv"

    @property
    def epochs(self) -> int:
        """Return how many epochs to train."""
        return self.run.settings.epochs_num or 1

    def steps(self, epoch: int) -> int:
        """Return how many steps an epoch has."""
        return self.run.settings.iterations_per_epoch

    def start_epoch(self, epoch: int) -> Optimizers:
        """Get ready for an epoch; return the optimisers of its steps."""
        return self.optimizers

    def end_epoch(self, epoch: int) -> None:
        """Clean up after an epoch."""

    def batches(self, epoch: int, step: int) -> Iterator[Any]:
        """Yield the batches of an epoch from ``step`` on."""
        raise NotImplementedError

    def forward(self, batch: Any) -> dict[str, torch.Tensor]:
        """Return the losses of a batch, scalars, by name."""
        raise NotImplementedError

    def rate(self, epoch: int, step: int) -> float:
        """Return what to multiply all learning rates by in a step, 0 to 1."""
        settings = self.run.settings
        steps = self.steps(epoch)
        milestones = [number * steps for number in settings.milestones or []]
        return schedule(
            settings.schedule or "constant",
            epoch * steps + step,
            self.epochs * steps,
            settings.warmup_steps,
            factor=settings.schedule_factor,
            milestones=milestones,
        )

    def figures(self, epoch: int) -> dict[str, float]:
        """Return what the table of figures says of an epoch beside its losses."""
        return {"group": epoch % len(self.run.groups)}

    def describe(self, state: State) -> str:
        """Return a table of what is about to be done, before its first long step."""
        return f"{self.title}: {format_count(self.epochs - state.epoch, 'epoch')}"


class ImagePhase(Phase):
    """Trains the network on photos of classes, those of one group in each epoch, or of several side by side.

    What it learns is said by ``compute_losses``.

    Attributes:
        group: the number of the group that ``compute_losses`` is asked about.
        share: which of how many equal shares of each batch this rank reads and encodes.
    """

    gives_model = True
    group = 0

    def __init__(self, run: Run) -> None:
        """Make the optimiser of the network, and what reads and augments photos."""
        super().__init__(run)
        settings = run.settings
        self.network = run.network.to(run.device)
        self.local_steps = settings.local_steps if settings.local_steps and ranks.count() > 1 else 0
        self.share = WHOLE if self.local_steps else (ranks.number(), ranks.count())
        if self.share != WHOLE:
            ranks.synchronise(self.network, run.device)
        compiled: Any = torch.compile(self.network) if settings.compile else self.network
        wrapped = run.fabric.setup_module(compiled, _reapply_compile=False)

        def encode(images: torch.Tensor) -> torch.Tensor:
            with run.fabric.no_backward_sync(wrapped) if self.local_steps else nullcontext():
                descriptors: torch.Tensor = wrapped(images)
                return descriptors

        self.encode = encode
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        kind = OPTIMIZERS[settings.optimizer or "adam"]
        self.optimizers = [kind(trained, lr=settings.lr, weight_decay=settings.weight_decay)]
        self.augmentation_device = torch.device(settings.augmentation_device or run.device)
        assert settings.image_size is not None
        self.augment = Augmentation(
            image_size=settings.image_size,
            brightness=settings.brightness,
            contrast=settings.contrast,
            saturation=settings.saturation,
            hue=settings.hue,
            random_resized_crop=settings.random_resized_crop,
            order=settings.augmentation,
        )
        self.reader = BatchReader(
            run.table,
            image_size=settings.image_size,
            max_unreadable_images=settings.max_unreadable_images,
            batch_size=settings.batch_size,
            num_workers=settings.num_workers,
            pin_memory=self.augmentation_device.type == "cuda",
        )

    def compute_losses(self, descriptors: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the losses, by name, of descriptors (B, D) whose classes are ``labels`` (B,), rows of the group."""
        raise NotImplementedError

    def start_epoch(self, epoch: int) -> Optimizers:
        """Put the network in training mode; batch norms of stages that ``unfreeze`` leaves frozen keep theirs."""
        self.network.train()
        if self.run.settings.unfreeze is not None:
            for module in self.network.modules():
                own = list(module.parameters(recurse=False))
                if own and not any(parameter.requires_grad for parameter in own):
                    module.eval()
        return super().start_epoch(epoch)

    def groups_of(self, epoch: int) -> list[int]:
        """Return the numbers of the groups that an epoch trains on: one, or several side by side."""
        side_by_side = self.run.settings.parallel_groups
        turn = epoch * ranks.count() + ranks.number() if self.local_steps else epoch
        return [(turn * side_by_side + number) % len(self.run.groups) for number in range(side_by_side)]

    def draw(self, group: Group, epoch: int) -> Iterator[list[tuple[int, int]]]:
        """Yield batches without end: pairs of class index and position in ``group.images``."""
        settings = self.run.settings
        return draw_batches(
            group,
            batch_size=settings.batch_size,
            images_per_class=settings.images_per_class or 1,
            seed=settings.seed,
            epoch=epoch,
        )

    def batches(self, epoch: int, step: int) -> Iterator[GroupBatches]:
        """Yield for each step this rank's photos of each group, and the seed of their augmentation."""
        numbers = self.groups_of(epoch)
        own = slice(None) if self.share == WHOLE else ranks.own_rows(self.run.settings.batch_size)

        def draw(group: Group) -> Iterator[list[tuple[int, int]]]:
            for batch in islice(self.draw(group, epoch), step, self.steps(epoch)):
                yield batch[own]

        groups = [self.run.groups[number] for number in numbers]
        read = [self.reader.read_batches(group, draw(group)) for group in groups]
        for done, batches in enumerate(zip(*read, strict=True), start=step):
            first = ranks.number() * len(numbers) if self.local_steps else 0
            seeds = [
                derive_seed(self.run.settings.seed, epoch, done, *([place] if place else []))
                for place in range(first, first + len(numbers))
            ]
            yield list(zip(numbers, batches, seeds, strict=True))

    def forward(self, batch: GroupBatches) -> dict[str, torch.Tensor]:
        """Augment photos, encode them, and return the losses, the mean over the groups."""
        of_groups = []
        for self.group, photos, seed in batch:
            pixels = copy_to(photos.images, self.augmentation_device)
            images = self.augment(pixels, photos.sizes, torch.Generator().manual_seed(seed), self.share)
            images = copy_to(self.network.normalize(images), self.run.device)
            labels = copy_to(photos.labels, self.run.device)
            of_groups.append(self.compute_losses(*self.encode_all(images, labels, seed)))
        if len(of_groups) == 1:
            return of_groups[0]
        return {name: torch.stack([losses[name] for losses in of_groups]).mean() for name in of_groups[0]}

    def encode_all(self, images: torch.Tensor, labels: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode this rank's images; return the descriptors and labels of all ranks'."""
        if self.share == WHOLE:
            return self.encode(images), labels
        size = self.run.settings.batch_size
        torch.manual_seed(derive_seed(seed, self.share[0]))  # dropout differs from rank to rank
        descriptors = ranks.gather(self.encode(images), size)
        torch.manual_seed(seed)  # what losses draw does not
        return descriptors, ranks.gather(labels, size)

    def end_epoch(self, epoch: int) -> None:
        """Name the unreadable images that other ranks have met."""
        for unreadable in ranks.collect(dict(self.reader.unreadable)):
            for path, reason in unreadable.items():
                self.reader.note_unreadable(path, reason)

    def figures(self, epoch: int) -> dict[str, float]:
        """Return the first group of an epoch."""
        return {"group": self.groups_of(epoch)[0]}

    def parts(self) -> dict[str, tuple[int, int]]:
        """Return how many parameters are frozen and trained, by the name of their part."""
        return {name: count_parameters(getattr(self.network, name)) for name in ("backbone", "aggregation")}

    def learns(self) -> str:
        """Say what the losses compare descriptors with."""
        return "their classes"

    def describe(self, state: State) -> str:
        """Return a table of the training: parameters, classes, steps, memory and time."""
        settings, groups, device = self.run.settings, self.run.groups, self.run.device
        size = self.augment.image_size
        photos = settings.batch_size * settings.parallel_groups
        images = torch.rand(photos // self.share[1], 3, size, size, device=device)

        def step() -> torch.Tensor:
            with self.run.fabric.autocast():
                return F.normalize(self.network(self.network.normalize(images)).float()).sum()

        self.network.eval()  # so that the statistics of batch normalisation stay as they are
        cost = measure_step(step)
        self.zero_grad()
        parts = self.parts()
        rows = {
            "classes": f"{sum(len(group) for group in groups):,} in {format_count(len(groups), 'group')}",
            "descriptors": f"{self.network.descriptor_dim} dimensions, compared with {self.learns()}",
            "steps": f"{format_count(self.epochs, 'epoch')} of {settings.iterations_per_epoch:,}, "
            f"{photos} images of {size} px each, {settings.images_per_class} of a class"
            + (f", from {settings.parallel_groups} groups" if settings.parallel_groups > 1 else "")
            + (f", on {ranks.count()} devices" if ranks.count() > 1 else ""),
            "memory": estimate_memory(parts, cost),
            "time": estimate_time(cost.seconds * settings.iterations_per_epoch * (self.epochs - state.epoch))
            + ", without validation",
        }
        title = f"Training the image encoder: {self.network.backbone_name} on {device}"
        if state.epoch or state.step:
            title += f", resumed at epoch {state.epoch + 1} after step {state.step}"
        return format_overview(title, parts, rows)


def schedule(
    kind: str,
    step: int,
    total: int,
    warmup: int,
    *,
    factor: float | None = None,
    milestones: Sequence[int] = (),
) -> float:
    """Return the share of the full learning rate in a step, from 0, of ``total``.

    It rises in equal parts over ``warmup`` steps, the last of which has the full rate. After that ``constant`` keeps
    it, ``cosine`` and ``linear`` fall to ``factor`` (without it 0), and ``steps`` multiplies by ``factor`` (without it
    0.1) at each of the ``milestones``, which are steps. Written as a function of the step, because a run that goes on
    with another rate, or with more epochs, takes it as it would be; the values are those of ``CosineAnnealingLR``,
    ``LinearLR`` and ``MultiStepLR``.
    """
    if step < warmup:
        return (step + 1) / warmup
    if kind == "steps":
        return float((0.1 if factor is None else factor) ** sum(step >= milestone for milestone in milestones))
    share = min(1.0, (step - warmup) / max(1, total - warmup))
    left = factor or 0.0
    falling = {"constant": 1.0, "linear": 1 - share, "cosine": (1 + math.cos(math.pi * share)) / 2}[kind]
    return falling if kind == "constant" else left + (1 - left) * falling
