"""The network: images in, place descriptors out, with the preprocessing that belongs to it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from progeo.errors import ProgeoError
from progeo.models.backbones import create_backbone, find_backbone
from progeo.models.pooling import create_aggregation
from progeo.models.preprocessing import Preprocessing

__all__ = ["PlaceNetwork", "Preprocessing", "create_network"]


class PlaceNetwork(nn.Module):
    """A backbone and the aggregation of its features into one descriptor per image.

    Attributes:
        backbone: from normalised images (B, 3, H, W) to features (B, C, h, w).
        aggregation: from those to descriptors (B, ``fc_output_dim``).
        preprocessing: image size, mean, std and interpolation that the network was trained with.
        backbone_name: the registry's name of the backbone.
        fc_output_dim: dimension of the descriptors.
        card: what is known of a trained network (training settings, metrics, licence, ...); empty for a new one.
    """

    def __init__(
        self,
        backbone: nn.Module,
        aggregation: nn.Module,
        *,
        preprocessing: Preprocessing,
        backbone_name: str,
        fc_output_dim: int,
    ) -> None:
        """Put the parts together; ``create_network`` makes them."""
        super().__init__()
        self.backbone = backbone
        self.aggregation = aggregation
        self.preprocessing = preprocessing
        self.backbone_name = backbone_name
        self.fc_output_dim = fc_output_dim
        self.card: dict[str, Any] = {}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Describe normalised float images (B, 3, H, W) by descriptors (B, ``fc_output_dim``) of Euclidean norm 1."""
        # Channels last is the layout that convolutions are fastest in, on CPUs and with mixed precision on GPUs.
        images = images.contiguous(memory_format=torch.channels_last)
        descriptors: torch.Tensor = self.aggregation(self.backbone(images))
        return descriptors


def create_network(
    backbone: str, fc_output_dim: int, *, weights: str = "default", train_all_layers: bool = False
) -> PlaceNetwork:
    """Return a network with a new aggregation, in training mode, its first layers frozen as published.

    Args:
        backbone: a name of ``progeo.models.backbones.list_backbones()``, such as ``ResNet18`` or ``timm:resnet34``.
        fc_output_dim: dimension of the descriptors, any positive number.
        weights: where the backbone starts: ``default`` (ImageNet weights, from the network or its cache), ``none``
            (random), or the path of a backbone state dict (``.pth`` or ``.safetensors``).
        train_all_layers: freeze nothing.

    Raises:
        ProgeoError: the backbone is unknown, the dimension no positive number, or the weights cannot be had.

    Example:
        >>> network = create_network("ResNet18", 512, weights="none").eval()
        >>> images = network.preprocessing.normalize(torch.rand(2, 3, 64, 96))
        >>> network(images).shape
        torch.Size([2, 512])
    """
    if isinstance(fc_output_dim, bool) or not isinstance(fc_output_dim, int) or fc_output_dim < 1:
        raise ProgeoError(f"fc_output_dim must be a positive whole number, not {fc_output_dim!r}.")
    entry = find_backbone(backbone)
    features = create_backbone(entry, weights=weights, train_all_layers=train_all_layers)
    network = PlaceNetwork(
        features,
        create_aggregation(entry.count_channels(features), fc_output_dim),
        preprocessing=entry.preprocessing,
        backbone_name=backbone,
        fc_output_dim=fc_output_dim,
    )
    return network.train()
