"""Principal components behind any head: smaller descriptors, fitted to photos (Jégou and Chum, ECCV 2012)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from progeo.models.features import Features, FeatureShapes
from progeo.models.heads.registry import create_head, register_head


@register_head("pca")
class PcaHead(nn.Module):
    """Another head, and the projection of its descriptors to their principal components, at length 1.

    ``mean`` and ``components`` are zero until ``progeo.fit`` sets them; whitening is a part of the components.
    """

    mean: torch.Tensor
    components: torch.Tensor

    def __init__(
        self,
        shapes: FeatureShapes,
        descriptor_dim: int,
        *,
        head: str,
        head_dim: int,
        head_arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """Make the inner ``head``, whose descriptors have ``head_dim`` dimensions."""
        super().__init__()
        self.head, _ = create_head(head, shapes, head_dim, head_arguments)
        self.stages = tuple(getattr(self.head, "stages", ()))
        self.register_buffer("mean", torch.zeros(head_dim))
        self.register_buffer("components", torch.zeros(descriptor_dim, head_dim))

    def forward(self, features: Features) -> torch.Tensor:
        """Return unit descriptors (B, ``descriptor_dim``)."""
        return F.normalize((self.head(features) - self.mean) @ self.components.T, dim=1)
