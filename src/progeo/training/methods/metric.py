"""Metric learning: photos of one place closer to each other than to those of other places, without classifiers.

A batch holds P places and K photos of each (``batch_size`` = P · K). The multi-similarity miner keeps the pairs that
are hard, and the multi-similarity loss pulls and pushes these.

Sources: Wang et al., "Multi-Similarity Loss with General Pair Weighting for Deep Metric Learning", CVPR 2019, equations
9 to 12; its parameters are those of Ali-bey, Chaib-draa and Giguère, "GSV-Cities: Toward Appropriate Supervised Visual
Place Recognition", Neurocomputing 2022.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from progeo.errors import ProgeoError, require
from progeo.training.groups import Group
from progeo.training.losses import widen
from progeo.training.method import ImagePhase, Method, Run, register_method
from progeo.training.settings import TrainSettings

POSITIVE_WEIGHT, NEGATIVE_WEIGHT, SIMILARITY_MARGIN = 1.0, 50.0, 0.0
"""Alpha, beta and lambda of the loss."""
MINER_MARGIN = 0.1
"""Epsilon of the miner: by how much a pair must be harder than the hardest of the other kind, less this."""


class MetricPhase(ImagePhase):
    """The multi-similarity loss of the pairs that its miner picks."""

    def __init__(self, run: Run) -> None:
        """Make loss and miner.

        Raises:
            ProgeoError: pytorch-metric-learning is not installed.
        """
        super().__init__(run)
        losses, miners = (
            require(f"pytorch_metric_learning.{name}", "`method` metric") for name in ("losses", "miners")
        )
        self.loss = losses.MultiSimilarityLoss(alpha=POSITIVE_WEIGHT, beta=NEGATIVE_WEIGHT, base=SIMILARITY_MARGIN)
        self.miner = miners.MultiSimilarityMiner(epsilon=MINER_MARGIN)

    def draw(self, group: Group, epoch: int) -> Iterator[list[tuple[int, int]]]:
        """Yield batches without end, of different places and of different photos of each.

        Places come in random order, each once before any comes again; the few at the end that fill no batch wait for
        the next round.
        """
        settings = self.run.settings
        photos = settings.images_per_class or 1
        places = settings.batch_size // photos
        generator = np.random.default_rng((settings.seed, epoch))
        while True:
            order = generator.permutation(len(group))
            for first in range(0, len(order) - places + 1, places):
                yield [
                    (int(place), int(position))
                    for place in order[first : first + places]
                    for position in generator.choice(
                        np.arange(group.offsets[place], group.offsets[place + 1]), photos, replace=False
                    )
                ]

    def compute_losses(self, descriptors: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the loss of a batch: of descriptors (B, D), at full precision."""
        descriptors = widen(descriptors)
        return {"multi_similarity": self.loss(descriptors, labels, self.miner(descriptors, labels))}

    def learns(self) -> str:
        """Say what the loss compares descriptors with."""
        return "each other"


@register_method("metric")
class Metric(Method):
    """One phase, on places with enough photos, with AdamW and a rate that falls to 0."""

    epochs = 10
    images_per_class = 4
    optimizer = "adamw"
    schedule = "linear"
    phase = MetricPhase

    def __init__(self, settings: TrainSettings, **arguments: Any) -> None:
        """Note how many photos of a place a batch holds."""
        super().__init__(settings, **arguments)
        self.photos = settings.images_per_class or self.images_per_class

    def resolve(self, settings: TrainSettings) -> TrainSettings:
        """Return the settings; places with fewer photos than a batch takes of each are left out.

        Raises:
            ProgeoError: a batch would hold one photo of each place, or one place.
        """
        photos = self.photos
        if photos < 2:
            raise ProgeoError("`images_per_class` 1 gives `method` metric no two photos of a place: use 2 or more.")
        if settings.batch_size < 2 * photos:
            raise ProgeoError(
                f"`batch_size` {settings.batch_size} holds {settings.batch_size // photos} place of {photos} photos, "
                f"but `method` metric compares places: use `batch_size` {2 * photos} or more."
            )
        least = max(photos, settings.min_images_per_class or 0)
        return dataclasses.replace(super().resolve(settings), min_images_per_class=least)

    def check_classes(self, count_images: Callable[[], npt.NDArray[np.int64]]) -> None:
        """Raise ProgeoError where no place has photos enough."""
        sizes, photos = count_images(), self.photos
        largest = int(sizes.max(initial=0))
        if largest < 2:
            raise ProgeoError(
                f"`method` metric compares photos of one place, but none of these {len(sizes):,} places has two. Give "
                "photos of the same places, a column place, or larger cells with `M` and `alpha`."
            )
        if largest < photos:
            raise ProgeoError(
                f"`images_per_class` {photos} is more than any place has: the largest of {len(sizes):,} has {largest} "
                f"photos. Use `images_per_class` {largest} or fewer."
            )

    def prepare(self, run: Run) -> None:
        """Check that each group fills a batch with different places.

        Raises:
            ProgeoError: a group has too few.
        """
        settings, photos = run.settings, run.settings.images_per_class or 1
        smallest = min(len(group) for group in run.groups)
        if smallest * photos < settings.batch_size:
            raise ProgeoError(
                f"`batch_size` {settings.batch_size} with {photos} photos of each needs "
                f"{settings.batch_size // photos} different places, but a group has {smallest}: use `batch_size` "
                f"{smallest * photos} or less, or fewer and larger groups (`groups_num` with places, `N` and `L` "
                "without)."
            )
