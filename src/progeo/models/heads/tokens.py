"""Heads that take the vector which the backbone itself has for the whole image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from progeo.models.features import Features, FeatureShapes
from progeo.models.heads.registry import register_head


@register_head("identity", needs="cls", fixed_dim="cls")
class IdentityHead(nn.Module):
    """The class token as it is, not normalised: the published ProGEO's transformers, and models of others."""

    def __init__(self, shapes: FeatureShapes, descriptor_dim: int) -> None:
        """There is nothing to prepare."""
        super().__init__()

    def forward(self, features: Features) -> torch.Tensor:
        """Return the class token (B, D)."""
        assert features.cls is not None
        return features.cls


@register_head("cls", needs="cls", fixed_dim="cls")
class ClassTokenHead(IdentityHead):
    """The class token at unit length."""

    def forward(self, features: Features) -> torch.Tensor:
        """Return the normalised class token (B, D)."""
        return F.normalize(super().forward(features), dim=1)
