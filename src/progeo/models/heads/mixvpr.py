"""MixVPR: an MLP mixes the feature maps over all positions (Ali-bey et al., WACV 2023, arXiv 2303.02190)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from progeo.errors import ProgeoError
from progeo.models.features import Features, FeatureShapes
from progeo.models.heads.registry import register_head


class FeatureMixer(nn.Module):
    """One block: each channel, as a vector of all positions, goes through an MLP and is added to itself."""

    def __init__(self, positions: int, ratio: float) -> None:
        """Start near the identity, so that a deep cascade trains from the first step."""
        super().__init__()
        width = int(positions * ratio)
        layers = nn.Linear(positions, width), nn.ReLU(), nn.Linear(width, positions)
        self.mix = nn.Sequential(nn.LayerNorm(positions), *layers)
        for layer in (layers[0], layers[2]):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return mixed maps, (B, C, positions) as they came."""
        mixed: torch.Tensor = maps + self.mix(maps)  # X + W_2(relu(W_1 X))
        return mixed


def choose_dimension(shapes: FeatureShapes, *, rows: int = 4, **_: Any) -> int:
    """Return the published dimension: 1024 channels."""
    return 1024 * rows


@register_head("mixvpr", needs="map", own_dim=choose_dimension, needs_grid=True)
class MixVprHead(nn.Module):
    """A cascade of mixers, then fewer channels, then fewer rows. Its weights are bound to one size of the map."""

    def __init__(
        self,
        shapes: FeatureShapes,
        descriptor_dim: int,
        *,
        rows: int = 4,
        depth: int = 4,
        ratio: float = 1.0,
        grid: tuple[int, int] = (20, 20),
    ) -> None:
        """Prepare the layers.

        Args:
            shapes: of the features.
            descriptor_dim: a multiple of ``rows``.
            rows: what the positions become. Published are 4 with 4096 dimensions, 2 with 512 and 128.
            depth: blocks of mixers.
            ratio: width of their hidden layer, in positions.
            grid: height and width of the map: 20 x 20 with images of 320 x 320 and a stride of 16, as published.

        Raises:
            ProgeoError: ``descriptor_dim`` is no multiple of ``rows``.
        """
        super().__init__()
        assert shapes.map is not None
        if descriptor_dim % rows:
            near = max(1, round(descriptor_dim / rows)) * rows
            raise ProgeoError(
                f"Head 'mixvpr' gives a multiple of its {rows} `rows`: use for example `descriptor_dim` {near} instead "
                f"of {descriptor_dim}."
            )
        self.grid = tuple(grid)
        positions = self.grid[0] * self.grid[1]
        self.mix = nn.Sequential(*(FeatureMixer(positions, ratio) for _ in range(depth)))
        self.channel_proj = nn.Linear(shapes.map, descriptor_dim // rows)
        self.row_proj = nn.Linear(positions, rows)

    def forward(self, features: Features) -> torch.Tensor:
        """Return unit descriptors (B, ``descriptor_dim``).

        Raises:
            ProgeoError: the map has another size than the weights are for.
        """
        assert features.map is not None
        height, width = features.map.shape[-2:]
        if (height, width) != self.grid:
            raise ProgeoError(
                f"Head 'mixvpr' is bound to maps of {self.grid[1]} x {self.grid[0]} patches, but these images give "
                f"{width} x {height}: use images of the size that the model was made for, as squares."
            )
        maps = self.mix(features.map.flatten(2))  # (B, C, h w)
        maps = self.channel_proj(maps.transpose(1, 2)).transpose(1, 2)  # fewer channels
        return F.normalize(self.row_proj(maps).flatten(1), dim=1)  # fewer rows, then unit length
