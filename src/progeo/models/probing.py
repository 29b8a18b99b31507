"""Trying a model out: what its descriptors are like, where nobody says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from progeo.errors import ProgeoError
from progeo.pixels.recipe import Preprocessing

TOLERANCE = 1e-3
"""How far a descriptor may move, beside its length, when others share its batch; rounding alone moves it by 1e-6."""


class Probe(NamedTuple):
    """What was found out."""

    dimension: int
    """Of the descriptors."""
    batch_dependent: bool
    """Whether the descriptor of an image depends on the rest of its batch."""


@torch.inference_mode()
def probe_model(
    describe: Callable[[torch.Tensor], Any], preprocessing: Preprocessing, device: torch.device | str = "cpu"
) -> Probe:
    """Describe an image alone, and in a batch with two others.

    Args:
        describe: from normalised images (B, 3, H, W) to descriptors (B, D), in evaluation mode.
        preprocessing: how it wants its images; those of free size are 224 x 224.
        device: where it computes.

    Raises:
        ProgeoError: what it gives are no descriptors.
    """
    side = preprocessing.image_size if preprocessing.square else 224
    images = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    alone, together = describe(images[:1]), describe(images)
    for output, count in ((alone, 1), (together, 3)):
        if not isinstance(output, torch.Tensor) or output.ndim != 2 or len(output) != count:
            shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
            images_are = "one image" if count == 1 else f"{count} images"
            raise ProgeoError(f"it gives {shape} for {images_are} where descriptors ({count}, D) are needed")
    distance = (together[0].float() - alone[0].float()).norm() / alone[0].float().norm().clamp(min=1e-12)
    return Probe(int(alone.shape[1]), bool(distance > TOLERANCE))
