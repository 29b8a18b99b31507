"""From a feature map to one descriptor: the CosPlace aggregation (Berton et al., CVPR 2022, arXiv 2204.02287)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from progeo.errors import ProgeoError
from progeo.models.features import Features, FeatureShapes
from progeo.models.heads.registry import register_head


class L2Norm(nn.Module):
    """Scale to unit length along dimension 1: the channels of a map (B, C, h, w), or a descriptor (B, D)."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return ``features``, same shape, with Euclidean norm 1 along dimension 1."""
        return F.normalize(features, p=2.0, dim=1)


class GeM(nn.Module):
    """Generalised-mean pooling with a learned exponent (Radenović et al., TPAMI 2019, arXiv 1711.02512).

    ``p = 1`` is average pooling; the larger ``p``, the nearer to max pooling.
    """

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        """Start from exponent ``p``; activations below ``eps`` count as ``eps``."""
        super().__init__()
        self.p = nn.Parameter(torch.ones(1) * p)
        self.eps = eps

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Pool a map (B, C, h, w) of any size to (B, C, 1, 1)."""
        return features.clamp(min=self.eps).pow(self.p).mean(dim=(-2, -1), keepdim=True).pow(1.0 / self.p)


@register_head("gem", needs="map")
class GemHead(nn.Sequential):
    """The CosPlace head: GeM, then a projection to unit descriptors.

    The order of the parts is that of the published checkpoints (``aggregation.1.p``, ``aggregation.3.weight``).
    """

    def __init__(self, shapes: FeatureShapes, descriptor_dim: int, *, projection: bool = True, p: float = 3.0) -> None:
        """Start from exponent ``p``; without ``projection``, descriptors are the pooled channels, at unit length."""
        assert shapes.map is not None
        if not projection and descriptor_dim != shapes.map:
            raise ProgeoError(
                f"Without projection the descriptors have {shapes.map} dimensions: leave out `descriptor_dim` "
                f"{descriptor_dim}."
            )
        parts: list[nn.Module] = [nn.Linear(shapes.map, descriptor_dim)] if projection else []
        super().__init__(L2Norm(), GeM(p), nn.Flatten(), *parts, L2Norm())

    def forward(self, features: Features) -> torch.Tensor:
        """Return unit descriptors (B, ``descriptor_dim``)."""
        descriptors: torch.Tensor = super().forward(features.map)  # type: ignore[no-untyped-call]
        return descriptors
