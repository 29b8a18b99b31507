"""Losses of place recognition training."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class CosFaceClassifier(nn.Module):
    """Logits with a large cosine margin: s * (cos(theta) - m * onehot(label)).

    Source: Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", CVPR 2018, equation 4; s and m
    as CosPlace sets them.
    """

    def __init__(self, dimension: int, classes: int, s: float = 30.0, m: float = 0.40) -> None:
        """Create Xavier-uniform weights (classes, dimension)."""
        super().__init__()
        self.s = s
        self.m = m
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(classes, dimension)))

    def forward(self, descriptors: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, classes) of descriptors (B, dimension) with labels (B,), int64."""
        cosines = F.normalize(descriptors, eps=1e-8) @ F.normalize(self.weight, eps=1e-8).T
        margins = torch.zeros_like(cosines).scatter_(1, labels.unsqueeze(1), self.m)
        return self.s * (cosines - margins)
