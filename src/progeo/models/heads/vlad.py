"""VLAD: local features against a vocabulary that was fitted to photos, not trained (Jégou et al., CVPR 2010)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from progeo.errors import ProgeoError
from progeo.models.features import Features, FeatureShapes
from progeo.models.heads.gem import GeM, L2Norm
from progeo.models.heads.registry import register_head


@register_head("vlad", needs="map")
class VladHead(nn.Module):
    """Residuals of local features to their nearest words, summed by word, each word's sum at length 1.

    The last step is the intra-normalisation of Arandjelović and Zisserman, "All about VLAD", CVPR 2013. GeM of the last
    map may be joined to it. Nothing here is learned by gradients: ``words`` are zero until ``progeo.fit`` sets them.
    """

    stages = ("local",)
    words: torch.Tensor

    def __init__(self, shapes: FeatureShapes, descriptor_dim: int, *, words: int = 32, gem: float = 0.0) -> None:
        """Take ``words`` words, and join GeM with p = 3 at length ``gem`` beside the residuals' length 1; 0 is none."""
        super().__init__()
        assert shapes.local_channels is not None and shapes.map is not None
        dimension = words * shapes.local_channels + (shapes.map if gem else 0)
        if descriptor_dim != dimension:
            raise ProgeoError(
                f"Head 'vlad' of {words} words has {dimension} dimensions here, not {descriptor_dim}: give "
                f"`descriptor_dim` {dimension}, or fit it to photos with progeo.fit, which finds the words too."
            )
        self.register_buffer("words", torch.zeros(words, shapes.local_channels))
        self.gem_length = gem
        self.pool = nn.Sequential(L2Norm(), GeM(3.0), nn.Flatten(), L2Norm()).requires_grad_(False) if gem else None

    def forward(self, features: Features) -> torch.Tensor:
        """Return unit descriptors (B, words * C), or with GeM's channels behind."""
        local = F.normalize(features.stages["local"], dim=1).flatten(2).transpose(1, 2)
        # |x - c|² without |x|², which is the same for every word
        nearness = local @ self.words.T - 0.5 * self.words.square().sum(dim=1)
        assigned = (nearness == nearness.amax(dim=2, keepdim=True)).to(local.dtype)
        residuals = assigned.transpose(1, 2) @ local - assigned.sum(dim=1).unsqueeze(2) * self.words
        vlad = F.normalize(F.normalize(residuals, dim=2).flatten(1), dim=1)
        if self.pool is None:
            return vlad
        return F.normalize(torch.cat([vlad, self.gem_length * self.pool(features.map)], dim=1), dim=1)
