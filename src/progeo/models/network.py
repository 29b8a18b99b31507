"""The network: images in, place descriptors out, with the preprocessing that belongs to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from progeo.errors import ProgeoError
from progeo.models.backbones.clip import ClipResNet, ClipVisionTransformer
from progeo.models.backbones.create import create_backbone, find_backbone
from progeo.models.folding import fold_batch_norms
from progeo.models.heads.gem import create_aggregation
from progeo.pixels.recipe import Preprocessing

__all__ = ["PlaceNetwork", "Preprocessing", "create_network"]

DEFAULT_DIMENSION = 512


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
        """Describe normalised float images (B, 3, H, W) by descriptors (B, ``fc_output_dim``).

        They have Euclidean norm 1, except those of CLIP's vision transformers, which stay as they are.
        """
        # Channels last is the layout that convolutions are fastest in, on CPUs and with mixed precision on GPUs.
        images = images.contiguous(memory_format=torch.channels_last)
        descriptors: torch.Tensor = self.aggregation(self.backbone(images))
        return descriptors

    def fold(self) -> PlaceNetwork:
        """Return what gives the same descriptors in less time, in eval mode as this is; see ``fold_batch_norms``."""
        return fold_batch_norms(self, self.preprocessing, PlaceNetwork.__call__)

    def set_image_size(self, image_size: int) -> None:
        """Prepare for training at ``image_size`` pixels: positional embeddings are interpolated to it.

        Raises:
            ProgeoError: the backbone cuts images into patches, and the size is no multiple of them.
        """
        if isinstance(self.backbone, ClipVisionTransformer):
            patch = self.backbone.patch_size
            if image_size % patch:
                raise ProgeoError(
                    f"`image_size` {image_size} is no multiple of {patch}, the side of the patches of "
                    f"{self.backbone_name}: use for example `image_size` {max(1, round(image_size / patch)) * patch}."
                )
            self.backbone.fit_positions((image_size // patch) ** 2 + 1)
        self.preprocessing = dataclasses.replace(self.preprocessing, image_size=image_size)


def create_network(
    backbone: str,
    fc_output_dim: int | None = None,
    *,
    weights: str = "default",
    train_all_layers: bool = False,
    frozen_stages: int | None = None,
) -> PlaceNetwork:
    """Return a network with a new aggregation, in training mode, its first layers frozen as published.

    Args:
        backbone: a name of ``list_backbones()``, such as ``ResNet18`` or ``timm:resnet34``.
        fc_output_dim: dimension of the descriptors, any positive number; of CLIP's vision transformers their own.
            None takes that of the backbone's text tower, and 512 where it has none.
        weights: where the backbone starts: ``default`` (its own weights, from the network or its cache), ``none``
            (random), or the path of a backbone state dict (``.pth`` or ``.safetensors``).
        train_all_layers: freeze nothing.
        frozen_stages: of a CLIP, how many layers (ResNet) or blocks (transformer) to freeze; None as published.

    Raises:
        ProgeoError: the backbone is unknown, the dimension no positive number, or the weights cannot be had.

    Example:
        >>> network = create_network("ResNet18", 512, weights="none").eval()
        >>> images = network.preprocessing.normalize(torch.rand(2, 3, 64, 96))
        >>> network(images).shape
        torch.Size([2, 512])
    """
    entry = find_backbone(backbone)
    if fc_output_dim is None:
        fc_output_dim = entry.text_dimension or DEFAULT_DIMENSION
    if isinstance(fc_output_dim, bool) or not isinstance(fc_output_dim, int) or fc_output_dim < 1:
        raise ProgeoError(f"fc_output_dim must be a positive whole number, not {fc_output_dim!r}.")
    features = create_backbone(entry, weights=weights, train_all_layers=train_all_layers, frozen_stages=frozen_stages)
    channels = entry.count_channels(features)
    if entry.gives_descriptors and fc_output_dim != channels:
        raise ProgeoError(f"{backbone} gives descriptors of {channels} dimensions: use `fc_output_dim` {channels}.")
    network = PlaceNetwork(
        features,
        nn.Identity() if entry.gives_descriptors else create_aggregation(channels, fc_output_dim),
        preprocessing=entry.preprocessing,
        backbone_name=backbone,
        fc_output_dim=fc_output_dim,
    )
    return network.train()


def fit_positions(network: PlaceNetwork, tensors: Mapping[str, torch.Tensor]) -> None:
    """Bring the network's positional embeddings, if it has any, to the number that ``tensors`` hold."""
    if isinstance(network.backbone, ClipResNet | ClipVisionTransformer):
        prefix = "attnpool." if isinstance(network.backbone, ClipResNet) else ""
        embeddings = tensors.get(f"backbone.{prefix}positional_embedding")
        if embeddings is not None and embeddings.ndim == 2:
            network.backbone.fit_positions(len(embeddings))
