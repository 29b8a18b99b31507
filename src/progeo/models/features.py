"""What a backbone tells a head: a map, tokens, and a token of the whole image where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch


class Features(NamedTuple):
    """The features of a batch of images; None is what a backbone does not have.

    Attributes:
        map: (B, C, h, w), one vector a patch, in the grid of the image.
        tokens: (B, N, C), the same as a sequence.
        cls: (B, D), one vector an image.
        stages: (B, C, h, w) each, the outputs of earlier stages, by the names under which the head asked for them.
    """

    map: torch.Tensor | None = None
    tokens: torch.Tensor | None = None
    cls: torch.Tensor | None = None
    stages: Mapping[str, torch.Tensor] = MappingProxyType({})


class FeatureShapes(NamedTuple):
    """The dimensions of ``Features``.

    Attributes:
        map: channels of the map.
        tokens: width of the tokens.
        cls: width of the class token.
        local: channels of the local features, where those are the output of an earlier stage; see ``local_channels``.
    """

    map: int | None = None
    tokens: int | None = None
    cls: int | None = None
    local: int | None = None

    @property
    def local_channels(self) -> int | None:
        """Channels of the local features: of the local stage, else of the map; None where there are none."""
        return self.local or self.map

    def describe(self) -> str:
        """Return what there is, in words."""
        names = {"map": "a feature map", "tokens": "tokens", "cls": "a class token"}
        sizes = self._asdict()
        return " and ".join(f"{text} ({sizes[name]})" for name, text in names.items() if sizes[name]) or "nothing"


def as_features(output: Features | torch.Tensor) -> Features:
    """Return what a backbone gave as features: a tensor is a map (4 dimensions), tokens (3) or one vector (2)."""
    if isinstance(output, Features):
        return output
    if output.ndim == 4:
        return Features(map=output, tokens=output.flatten(2).transpose(1, 2))
    return Features(tokens=output) if output.ndim == 3 else Features(cls=output)


def map_shapes(channels: int, local: int | None = None) -> FeatureShapes:
    """Return the shapes of a backbone that gives a map of this many channels, and local features of ``local``."""
    return FeatureShapes(map=channels, tokens=channels, local=local)
