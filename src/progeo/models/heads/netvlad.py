"""NetVLAD: what local features differ by from the centre of their cluster (Arandjelović et al., CVPR 2016).

arXiv 1511.07247.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from progeo.models.features import Features, FeatureShapes
from progeo.models.heads.registry import register_head


def choose_dimension(shapes: FeatureShapes, *, clusters: int = 64, **_: Any) -> int:
    """Return the dimension without a projection: a residual of each cluster."""
    return clusters * (shapes.tokens or 0)


@register_head("netvlad", needs="tokens", own_dim=choose_dimension)
class NetVladHead(nn.Module):
    """Soft assignment to learned clusters, sums of residuals, each cluster and then the whole at unit length."""

    def __init__(self, shapes: FeatureShapes, descriptor_dim: int, *, clusters: int = 64, alpha: float = 100.0) -> None:
        """Start from random centres of length 1, and assign softly around them.

        Args:
            shapes: of the features.
            descriptor_dim: ``clusters`` times the width of the tokens; any other dimension adds a linear layer, where
                the paper whitens with a PCA.
            clusters: how many there are.
            alpha: how fast a feature's share in a cluster falls with the squared distance, at the start.
        """
        super().__init__()
        assert shapes.tokens is not None
        centres = F.normalize(torch.randn(clusters, shapes.tokens), dim=1)
        self.centroids = nn.Parameter(centres)
        self.assignment = nn.Linear(shapes.tokens, clusters)
        with torch.no_grad():  # a share is softmax(w_k x + b_k), with w_k = 2 alpha c_k and b_k = - alpha |c_k|²
            self.assignment.weight.copy_(2 * alpha * centres)
            self.assignment.bias.copy_(-alpha * centres.square().sum(dim=1))
        own = choose_dimension(shapes, clusters=clusters)
        self.projection = nn.Linear(own, descriptor_dim) if descriptor_dim != own else None

    def forward(self, features: Features) -> torch.Tensor:
        """Return unit descriptors (B, ``descriptor_dim``)."""
        assert features.tokens is not None
        local = F.normalize(features.tokens, dim=2)  # (B, N, C)
        shares = self.assignment(local).softmax(dim=2)  # (B, N, K)
        # The sum over the residuals x_i - c_k is taken apart: no tensor of (B, N, K, C) is needed.
        residuals = shares.transpose(1, 2) @ local - shares.sum(dim=1)[:, :, None] * self.centroids
        descriptors = F.normalize(F.normalize(residuals, dim=2).flatten(1), dim=1)
        return descriptors if self.projection is None else F.normalize(self.projection(descriptors), dim=1)
