"""What a backbone tells a head: a map, tokens, and a token of the whole image where there is one."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Features(NamedTuple):
    """The features of a batch of images; None is what a backbone does not have.

    Attributes:
        map: (B, C, h, w), one vector a patch, in the grid of the image.
        tokens: (B, N, C), the same as a sequence.
        cls: (B, D), one vector an image.
    """

    map: torch.Tensor | None = None
    tokens: torch.Tensor | None = None
    cls: torch.Tensor | None = None


class FeatureShapes(NamedTuple):
    """The dimensions of ``Features``: channels of the map, width of the tokens, width of the class token."""

    map: int | None = None
    tokens: int | None = None
    cls: int | None = None

    def describe(self) -> str:
        """Return what there is, in words."""
        names = {"map": "a feature map", "tokens": "tokens", "cls": "a class token"}
        return " and ".join(f"{names[name]} ({size})" for name, size in self._asdict().items() if size) or "nothing"


def as_features(output: Features | torch.Tensor) -> Features:
    """Return what a backbone gave as features: a tensor is a map (4 dimensions), tokens (3) or one vector (2)."""
    if isinstance(output, Features):
        return output
    if output.ndim == 4:
        return Features(map=output, tokens=output.flatten(2).transpose(1, 2))
    return Features(tokens=output) if output.ndim == 3 else Features(cls=output)


def map_shapes(channels: int) -> FeatureShapes:
    """Return the shapes of a backbone that gives a map of this many channels, and nothing else."""
    return FeatureShapes(map=channels, tokens=channels)
