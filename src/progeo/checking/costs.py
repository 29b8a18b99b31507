"""What a recommended training costs on this machine: memory and time, measured on one step of its network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from progeo.checking.classes import BATCH_SIZE, SMALL_BACKBONE, SMALL_SIZE, Recommendation
from progeo.models.building import create_model
from progeo.training.overview import StepCost, count_parameters, estimate_memory, format_duration, measure_step

MEASURED_IMAGES = 4
"""Images on which a step is measured, as a whole batch would take long; a single one would tell more of the start of
each layer than of its work."""
TOO_LONG = 24 * 3600
"""Seconds from which a training is not for this machine."""


@dataclass(frozen=True)
class Cost:
    """What a training takes: memory, in words, and seconds; reading photos and validation are not counted."""

    memory: str
    seconds: float

    @property
    def is_too_long(self) -> bool:
        """Whether something else should be done than wait for it."""
        return self.seconds > TOO_LONG

    @property
    def time(self) -> str:
        """Say how long it takes."""
        return f"about {format_duration(self.seconds)} on this machine's processor"


def estimate_cost(recommendation: Recommendation, say: Callable[[str], object] = lambda text: None) -> Cost:
    """Measure what the recommended training takes on the processor of this machine.

    What a backward pass keeps of an image is the same for each: steps on one image and on a few tell it.

    Args:
        recommendation: which network, at which size, for how many steps.
        say: is told what is about to be measured.
    """
    settings = recommendation.settings
    backbone, size = settings["backbone"], settings["image_size"]
    say(f"Measuring a training step of {backbone} at {size} px on this machine's processor")
    network = create_model(backbone, weights="none", unfreeze=settings.get("unfreeze"))
    network.set_image_size(size)
    network.eval()

    def measure(images: int) -> StepCost:
        crops = torch.rand(images, 3, size, size)
        return measure_step(lambda: F.normalize(network(crops)).sum())

    one, few = measure(1), measure(MEASURED_IMAGES)
    kept_per_image = (few.kept_bytes - one.kept_bytes) / (MEASURED_IMAGES - 1)
    kept = StepCost(0, round(one.kept_bytes + (BATCH_SIZE - 1) * kept_per_image))
    classifier = (0, recommendation.largest_group * network.descriptor_dim)
    memory = estimate_memory({"network": count_parameters(network), "classifier": classifier}, kept)
    return Cost(memory, few.seconds * BATCH_SIZE / MEASURED_IMAGES * recommendation.steps)


def describe_way_out(recommendation: Recommendation) -> str:
    """Say what to do where the recommended training takes too long here."""
    smaller = {"backbone": SMALL_BACKBONE, "image_size": SMALL_SIZE}
    cheaper = [f"`{name}` {value}" for name, value in smaller.items() if recommendation.settings[name] != value]
    cheaper.append(f"`iterations_per_epoch` {max(1, recommendation.settings['iterations_per_epoch'] // 10)}")
    return f"Too long for this machine: train on a GPU, or start with {' '.join(cheaper)}."
