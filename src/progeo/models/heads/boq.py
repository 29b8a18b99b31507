"""BoQ: bags of learned queries look for what identifies a place (Ali-bey et al., CVPR 2024, arXiv 2405.07364)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from progeo.errors import ProgeoError
from progeo.models.features import Features, FeatureShapes
from progeo.models.heads.registry import register_head

HEAD_WIDTH = 64
"""Channels of one attention head."""


class BagOfQueries(nn.Module):
    """One block: an encoder refines the features, then learned queries attend to them."""

    def __init__(self, channels: int, queries: int) -> None:
        """Start with random queries."""
        super().__init__()
        heads = channels // HEAD_WIDTH
        self.encoder = nn.TransformerEncoderLayer(channels, heads, 4 * channels, dropout=0.0, batch_first=True)
        self.queries = nn.Parameter(torch.randn(1, queries, channels))
        self.self_attn = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.norm_q = nn.LayerNorm(channels)
        self.cross_attn = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.norm_out = nn.LayerNorm(channels)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return refined features (B, N, C) and what the queries found in them (B, Q, C)."""
        features = self.encoder(features)  # X_i = Encoder_i(X_i-1)
        queries = self.queries.expand(len(features), -1, -1)
        # Q_i + MHA(Q_i, Q_i, Q_i): the queries of a bag know of each other.
        queries = self.norm_q(queries + self.self_attn(queries, queries, queries, need_weights=False)[0])
        found = self.cross_attn(queries, features, features, need_weights=False)[0]  # O_i = MHA(Q_i, X_i, X_i)
        return features, self.norm_out(found)


def choose_dimension(shapes: FeatureShapes, *, channels: int = 512, **_: Any) -> int:
    """Return the published dimension: 32 values a channel."""
    return 32 * channels


@register_head("boq", needs="map", own_dim=choose_dimension)
class BoqHead(nn.Module):
    """Blocks in a row; a linear layer mixes what all queries found. It takes maps of any size."""

    def __init__(
        self,
        shapes: FeatureShapes,
        descriptor_dim: int,
        *,
        channels: int = 512,
        queries: int = 64,
        blocks: int = 2,
    ) -> None:
        """Prepare the layers.

        Args:
            shapes: of the features.
            descriptor_dim: a multiple of ``channels``.
            channels: width of the blocks, a multiple of 64. The published models have 512 (ResNet50), 384 (DINOv2).
            queries: learned queries of a block.
            blocks: how many there are.

        Raises:
            ProgeoError: one is no multiple of the other.
        """
        super().__init__()
        assert shapes.map is not None
        if channels % HEAD_WIDTH or channels < HEAD_WIDTH:
            raise ProgeoError(f"Head 'boq': `channels` {channels} is no multiple of {HEAD_WIDTH}.")
        if descriptor_dim % channels:
            near = max(1, round(descriptor_dim / channels)) * channels
            raise ProgeoError(
                f"Head 'boq' gives a multiple of its {channels} `channels`: use for example `descriptor_dim` {near} "
                f"instead of {descriptor_dim}."
            )
        self.proj_c = nn.Conv2d(shapes.map, channels, 3, padding=1)
        self.norm_input = nn.LayerNorm(channels)
        self.boqs = nn.ModuleList(BagOfQueries(channels, queries) for _ in range(blocks))
        self.fc = nn.Linear(blocks * queries, descriptor_dim // channels)

    def forward(self, features: Features) -> torch.Tensor:
        """Return unit descriptors (B, ``descriptor_dim``)."""
        refined = self.norm_input(self.proj_c(features.map).flatten(2).transpose(1, 2))  # X_0
        outputs = []
        for block in self.boqs:
            refined, found = block(refined)
            outputs.append(found)
        joined = torch.cat(outputs, dim=1).transpose(1, 2)  # O = Concat(O_1, …, O_L), (B, C, L Q)
        return F.normalize(self.fc(joined).flatten(1), dim=1)
