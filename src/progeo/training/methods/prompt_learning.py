"""Stage 1: learning the prompts of all classes, both encoders frozen, one group after the other.

Source: Mao and Hu, "ProGEO", ICANN 2024: epoch e trains the prompts of group e modulo the number of groups on the image
features of all the group's images, with Adam and a learning rate that falls to 0 as a cosine over the group's epochs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from progeo.console import format_count
from progeo.devices import copy_to, derive_seed
from progeo.models.text import ImageTextModel
from progeo.training import ranks
from progeo.training.losses import contrast_images_and_texts, widen
from progeo.training.methods.image_features import Features, split_features
from progeo.training.methods.prompts import Prompts, PromptTemplate, compute_text_features
from progeo.training.overview import count_parameters, estimate_memory, estimate_time, format_overview, measure_step
from progeo.training.phase import Optimizers, Phase, Run, schedule
from progeo.training.state import State, move_optimizer

# Settings that stage 1 must keep to continue. Batch size and rate are not among them: lower ones are how a run goes on
# that ran out of memory or out of bounds.
KEPT_SETTINGS = ("prompt_template", "epochs_num_stage1", "held_out_images", "seed")

Batch = tuple[Features, npt.NDArray[np.int64]]
"""Image features (B, D), and the class of each (B,)."""


class PromptPhase(Phase):
    """Learns the prompts of all groups from the features of their images.

    Attributes:
        prompts: one module per group; only that of the current epoch's group is on the device.
        shares: the image features of each group.
    """

    name = "stage1"
    title = "Prompts, epoch"
    seconds_between_checkpoints = 20.0
    kept = KEPT_SETTINGS
    remedy = "lower `lr_stage1`"
    memory_remedy = "lower `batch_size_stage1`, or use `use_amp16`"

    def __init__(self, run: Run, model: ImageTextModel, features: Features) -> None:
        """Draw new tokens; ``model`` is on the device, frozen and in evaluation mode."""
        super().__init__(run)
        settings = run.settings
        self._model = [model]  # in a list, it is no part of what is trained
        self.features = features
        self.shares = split_features(features, run.groups, settings.held_out_images, settings.seed)
        torch.manual_seed(derive_seed(settings.seed, 1))
        template = PromptTemplate.parse(settings.prompt_template)
        made = [Prompts(template, model.text, len(group)) for group in run.groups]
        self.prompts = nn.ModuleList(made)
        self.optimizers = [torch.optim.Adam(group.parameters(), lr=settings.lr_stage1) for group in made]

    @property
    def epochs(self) -> int:
        """Return how many epochs to train, of all groups."""
        return self.run.settings.epochs_num_stage1

    def steps(self, epoch: int) -> int:
        """Return how many batches the images of the epoch's group are."""
        images = len(self.shares[epoch % len(self.shares)].training)
        return -(-images // self.run.settings.batch_size_stage1)

    def rate(self, epoch: int, step: int) -> float:
        """Return a cosine from 1 to 0 over the group's own epochs; the first groups may have one epoch more."""
        groups = len(self.shares)
        return schedule("cosine", epoch // groups, max(1, self.epochs // groups), 0)

    def batches(self, epoch: int, step: int) -> Iterator[Batch]:
        """Yield the features of the epoch's group in random order."""
        share, size = self.shares[epoch % len(self.shares)], self.run.settings.batch_size_stage1
        order = np.random.default_rng((self.run.settings.seed, 1, epoch)).permutation(share.training)
        for first in range(step * size, len(order), size):
            rows = order[first : first + size]
            yield share.features[rows], share.labels[rows]

    def start_epoch(self, epoch: int) -> Optimizers:
        """Take the group's prompts to the device."""
        self.group = epoch % len(self.shares)
        self.move_prompts(self.run.device)
        return [self.optimizers[self.group]]

    def end_epoch(self, epoch: int) -> None:
        """Take them back."""
        self.move_prompts(torch.device("cpu"))

    def move_prompts(self, device: torch.device) -> None:
        """Move the prompts of the current group, and the state of their optimiser."""
        self.prompts[self.group].to(device)
        move_optimizer(self.optimizers[self.group], device)

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Return the contrastive losses of a batch in both directions; each text is computed once, by one rank."""
        features, labels = batch
        classes, positions = np.unique(labels, return_inverse=True)
        image_features = widen(copy_to(torch.from_numpy(np.asarray(features)), self.run.device))
        prompts = self.prompts[self.group](copy_to(torch.from_numpy(classes), self.run.device))
        with self.run.fabric.autocast():
            texts = ranks.gather(self._model[0].text(ranks.spread(prompts)), len(classes))
        image_to_text, text_to_image = contrast_images_and_texts(
            image_features, texts, copy_to(torch.from_numpy(positions), self.run.device)
        )
        return {"image_to_text": image_to_text, "text_to_image": text_to_image}

    def figures(self, epoch: int) -> dict[str, float]:
        """Return the group and its learning rate."""
        return super().figures(epoch) | {"lr": self.run.settings.lr_stage1 * self.rate(epoch, 0)}

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Return how well prompts find held-out images: of each text, is the image that fits it best of its class?

        The images to choose from are those held out of the same group; chance is one in their number.
        """
        right, total, chance = 0, 0, 0.0
        for prompts, share in zip(self.prompts, self.shares, strict=True):
            if len(share.held_out) == 0:
                continue
            assert isinstance(prompts, Prompts)
            labels = torch.from_numpy(share.labels[share.held_out])
            texts = compute_text_features(prompts, self._model[0].text).cpu()[labels]
            images = torch.from_numpy(share.features[share.held_out].astype(np.float32))
            best = (texts @ images.T).argmax(dim=1)
            right += int((best == torch.arange(len(labels))).sum())
            total += len(labels)
            chance += 1.0
        if not total:
            return {}
        return {"R@1": 100 * right / total, "chance": 100 * chance / total, "held_out_images": total}

    def describe(self, state: State) -> str:
        """Return the table of stage 1."""
        settings, shares, model = self.run.settings, self.shares, self._model[0]
        images = [len(share.training) for share in shares]
        steps = round(self.epochs / len(shares) * sum(map(self.steps, range(len(shares)))))
        largest = int(np.argmax(images))
        self.start_epoch(largest)
        share = shares[largest]
        # At random, as in training: side by side photos are of few classes, and so of few texts.
        rows = np.random.default_rng(settings.seed).permutation(share.training)[: settings.batch_size_stage1]
        cost = measure_step(lambda: sum(self((share.features[rows], share.labels[rows])).values()))  # type: ignore[arg-type,return-value]
        self.zero_grad()
        self.end_epoch(largest)
        text_tower, (_, learned) = count_parameters(model.text), count_parameters(self.prompts[largest])
        parts = {
            "image tower": (count_parameters(model)[0] - text_tower[0], 0),
            "text tower": text_tower,
            "prompts of one group": (0, learned),
        }
        held_out = sum(len(share.held_out) for share in shares)
        return format_overview(
            f"Stage 1, prompts: {model.name}, {settings.prompt_template!r}",
            parts,
            {
                "classes": f"{sum(map(len, self.run.groups)):,} in {format_count(len(shares), 'group')}",
                "images": f"{sum(images):,}, and {held_out:,} held out to measure with",
                "steps": f"{steps:,} of {settings.batch_size_stage1} images, {format_count(self.epochs, 'epoch')}",
                "memory": f"{estimate_memory(parts, cost)}; {self.features.nbytes / 1e9:.2f} GB of image features on "
                "the disk",
                "time": estimate_time(cost.seconds * steps * (1 - state.epoch / self.epochs)),
            },
        )


def describe_measure(measured: dict[str, Any]) -> str:
    """Say what ``PromptPhase.measure`` found."""
    if not measured:
        return "No image was held out, so the prompts are not measured"
    return (
        f"Prompts find the held-out image of their own class in {measured['R@1']:.1f} % of "
        f"{measured['held_out_images']} cases (chance {measured['chance']:.1f} %)"
    )
