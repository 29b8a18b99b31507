"""SALAD: local features assigned to clusters by optimal transport (Izquierdo & Civera, CVPR 2024, arXiv 2311.15937).

With a linear layer behind it, it is the head of MegaLoc (Berton & Masone, CVPR workshops 2025, arXiv 2502.17237).
Written from the two papers.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from progeo.errors import ProgeoError
from progeo.models.features import Features, FeatureShapes
from progeo.models.heads.registry import register_head

MAX_ITERATIONS = 100


def choose_dimension(
    shapes: FeatureShapes, *, clusters: int = 64, cluster_dim: int = 128, token_dim: int = 256, **_: Any
) -> int:
    """Return the dimension without a projection."""
    return token_dim + clusters * cluster_dim


@register_head("salad", needs=("map", "cls"), own_dim=choose_dimension)
class SaladHead(nn.Module):
    """Local features go to clusters or to a dustbin; the class token is joined to what the clusters got."""

    def __init__(
        self,
        shapes: FeatureShapes,
        descriptor_dim: int,
        *,
        clusters: int = 64,
        cluster_dim: int = 128,
        token_dim: int = 256,
        hidden_dim: int = 512,
        dropout: float = 0.3,
        iterations: int = 3,
    ) -> None:
        """Prepare the layers.

        Args:
            shapes: of the features.
            descriptor_dim: ``token_dim + clusters * cluster_dim``; any other dimension adds a linear layer, as MegaLoc
                has it.
            clusters: how many there are, m in the paper.
            cluster_dim: dimensions of a local feature in a cluster, l in the paper.
            token_dim: dimensions of the class token.
            hidden_dim: width between the two layers of each of the three projections.
            dropout: of scores and local features, in training.
            iterations: of Sinkhorn's algorithm, at most MAX_ITERATIONS.

        Raises:
            ProgeoError: there are too many iterations, or none.
        """
        super().__init__()
        assert shapes.map is not None and shapes.cls is not None

        def project(width: int) -> nn.Sequential:
            layers = [nn.Conv2d(shapes.map or 0, hidden_dim, 1), nn.Dropout(dropout), nn.ReLU()]
            return nn.Sequential(*layers, nn.Conv2d(hidden_dim, width, 1))

        if not 1 <= iterations <= MAX_ITERATIONS:
            raise ProgeoError(f"Head 'salad': `iterations` is a number from 1 to {MAX_ITERATIONS}, not {iterations}.")
        self.clusters = clusters
        self.iterations = iterations
        self.score = project(clusters)
        self.cluster_features = project(cluster_dim)
        self.token_features = nn.Sequential(
            nn.Linear(shapes.cls, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, token_dim)
        )
        self.dust_bin = nn.Parameter(torch.tensor(1.0))
        own = choose_dimension(shapes, clusters=clusters, cluster_dim=cluster_dim, token_dim=token_dim)
        self.projection = nn.Linear(own, descriptor_dim) if descriptor_dim != own else None

    def forward(self, features: Features) -> torch.Tensor:
        """Return unit descriptors (B, ``descriptor_dim``).

        Raises:
            ProgeoError: there are no more local features than clusters.
        """
        assert features.map is not None and features.cls is not None
        height, width = features.map.shape[-2:]
        if height * width <= self.clusters:
            raise ProgeoError(
                f"Head 'salad' has {self.clusters} clusters and needs more patches than that, but the images give "
                f"{width} x {height}: use larger images, or fewer `clusters`."
            )
        scores = self.score(features.map).flatten(2).transpose(1, 2)  # (B, n, m)
        assignment = self._transport(scores)
        local = self.cluster_features(features.map).flatten(2)  # (B, l, n)
        aggregated = F.normalize(local @ assignment, dim=1)  # (B, l, m), each cluster at unit length
        token = F.normalize(self.token_features(features.cls), dim=1)  # (B, token_dim)
        descriptors = F.normalize(torch.cat([token, aggregated.flatten(1)], dim=1), dim=1)
        return descriptors if self.projection is None else F.normalize(self.projection(descriptors), dim=1)

    def _transport(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the shares (B, n, m) in which features go to clusters, by Sinkhorn's algorithm on logarithms."""
        batch, count, clusters = scores.shape
        dustbin = self.dust_bin.to(scores.dtype).expand(batch, count, 1)
        scores = torch.cat([scores, dustbin], dim=2).float()
        # Every feature gives 1, every cluster gets 1, and the dustbin the other n - m.
        received = scores.new_zeros(clusters + 1)
        received[-1] = math.log(count - clusters)
        of_features = scores.new_zeros(batch, count, 1)
        for _ in range(self.iterations):
            of_clusters = received - (scores + of_features).logsumexp(dim=1)
            of_features = -(scores + of_clusters[:, None]).logsumexp(dim=2, keepdim=True)
        shares = (scores + of_clusters[:, None] + of_features).exp()
        return shares[:, :, :-1].to(self.dust_bin.dtype)
