"""Heads: from features to one descriptor an image.

A head is a module ``Head(shapes, descriptor_dim, **arguments)`` that turns ``Features`` into descriptors (B, D). A
decorator makes it known by a name:

    @register_head("mean", needs="tokens")
    class MeanHead(nn.Module):
        def __init__(self, shapes: FeatureShapes, descriptor_dim: int) -> None:
            super().__init__()
            self.projection = nn.Linear(shapes.tokens, descriptor_dim)

        def forward(self, features: Features) -> torch.Tensor:
            return F.normalize(self.projection(features.tokens.mean(dim=1)), dim=1)
"""

from progeo.models.heads import boq, gem, mixvpr, netvlad, pca, salad, tokens, vlad  # noqa: F401  (they register)
from progeo.models.heads.registry import create_head, find_head, list_heads, register_head

__all__ = ["create_head", "find_head", "list_heads", "register_head"]
