"""A head of one's own: learned queries choose the patches that matter, a linear layer joins what they found."""

import torch
import torch.nn.functional as F
from torch import nn

import progeo
from progeo.models.features import Features, FeatureShapes


@progeo.register_head("attention", needs="tokens")
class AttentionHead(nn.Module):
    """Each of some learned queries takes a weighted mean of the patch tokens."""

    def __init__(self, shapes: FeatureShapes, descriptor_dim: int, *, queries: int = 4) -> None:
        """``shapes.tokens`` is the width of the tokens; ``queries`` is an argument of this head alone."""
        super().__init__()
        self.queries = nn.Linear(shapes.tokens, queries, bias=False)
        self.projection = nn.Linear(queries * shapes.tokens, descriptor_dim)

    def forward(self, features: Features) -> torch.Tensor:
        """Return descriptors (B, descriptor_dim) of length 1."""
        weights = self.queries(features.tokens).softmax(dim=1)  # (B, patches, queries)
        found = weights.transpose(1, 2) @ features.tokens  # (B, queries, width)
        return F.normalize(self.projection(found.flatten(1)), dim=1)


if __name__ == "__main__":
    model = progeo.create_model("EfficientNet-Lite0", head="attention", descriptor_dim=256)
    result = progeo.train(model, "photos/train", val="photos/val", folder="logs/attention")
    print(progeo.evaluate(result.model, "photos/test").recalls)
