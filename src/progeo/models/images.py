"""Batches of images as a network takes them: floats, normalised, on the device."""

from __future__ import annotations

import torch

from progeo.devices import channel_constant
from progeo.pixels.recipe import Preprocessing


def normalize(images: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Return ``(images - mean) / std`` for float ``images`` (B, 3, H, W) or (3, H, W) in [0, 1]."""
    mean, std = (
        channel_constant(values, images.dtype, images.device) for values in (preprocessing.mean, preprocessing.std)
    )
    return (images - mean) / std
