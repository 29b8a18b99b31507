"""Losses of place recognition training."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def widen(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor at full precision, which is PyTorch's default: float32 unless somebody wants float64."""
    return tensor.to(torch.get_default_dtype())


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


def contrast_images_and_texts(
    image_features: torch.Tensor, text_features: torch.Tensor, classes: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the supervised contrastive losses of stage 1, image to text and text to image.

    Each is the mean over its anchors of the mean over the anchor's positives of -log softmax, where images and texts of
    one class are positives, the temperature is 1 and the features are not normalised. The published code holds the text
    of a class once for every image of it; here each text stands once and is counted as often, which is the same.

    Source: Mao and Hu, "ProGEO", ICANN 2024, after Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020.

    Args:
        image_features: (B, D).
        text_features: (U, D), the texts of the classes in the batch, each class once.
        classes: (B,) int64, for each image the row of its class in ``text_features``; every row occurs.
    """
    logits = widen(image_features) @ widen(text_features).T
    counts = torch.bincount(classes, minlength=len(text_features)).to(logits.dtype)
    of_own_text = logits.gather(1, classes.unsqueeze(1)).squeeze(1)
    image_to_text = ((logits + counts.log()).logsumexp(dim=1) - of_own_text).mean()
    # Over the B copies of the texts, the mean weighs each text by its images; so does the sum over its positives.
    text_to_image = (counts * logits.logsumexp(dim=0)).sum() / len(classes) - of_own_text.mean()
    return image_to_text, text_to_image


def compare_with_texts(descriptors: torch.Tensor, text_features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy, label smoothing 0.1, of dot products of descriptors and the texts of all classes.

    Source: Mao and Hu, "ProGEO", ICANN 2024; there is no temperature.

    Args:
        descriptors: (B, D).
        text_features: (classes, D), at full precision, fixed.
        labels: (B,) int64.
    """
    return F.cross_entropy(widen(descriptors) @ text_features.T, labels, label_smoothing=0.1)


def weighted_soft_margin_triplet(descriptors: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the soft-margin triplet loss, each anchor's positives and negatives weighed by the softmax of distance.

    Distances are Euclidean, between the descriptors (B, D) of a batch with labels (B,), int64: the far positives and
    the near negatives of an anchor weigh most. An anchor is its own positive at distance 0, so that a batch with one
    image per class, as the published sampling draws, only pushes apart.

    Source: Hermans et al., "In Defense of the Triplet Loss for Person Re-Identification", 2017 (soft margin), with the
    weights of Ristani and Tomasi, "Features for Multi-Target Multi-Camera Tracking and Re-Identification", CVPR 2018.
    """
    descriptors = widen(descriptors)
    squares = descriptors.square().sum(dim=1)
    squared = squares[:, None] + squares[None, :] - 2 * descriptors @ descriptors.T
    distances = squared.clamp(min=1e-12).sqrt()
    same = labels[:, None] == labels[None, :]

    def average(weights_of: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        # Published with a constant that keeps a row without any chosen from dividing by zero.
        shifted = weights_of - (weights_of * chosen).amax(dim=1, keepdim=True)
        weights = shifted.exp() * chosen
        return (distances * weights / (weights.sum(dim=1, keepdim=True) + 1e-6)).sum(dim=1)

    return F.softplus(average(distances, same) - average(-distances, ~same)).mean()
