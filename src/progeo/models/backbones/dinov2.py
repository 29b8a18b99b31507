"""DINOv2 (Oquab et al., TMLR 2024, arXiv 2304.07193): vision transformers of timm, run as their authors run them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from progeo.errors import ProgeoError
from progeo.models.backbones.registry import BackboneEntry, register_backbone
from progeo.models.features import Features, FeatureShapes
from progeo.pixels.recipe import Preprocessing

NETWORKS = {
    "DINOv2-S": ("vit_small_patch14_dinov2.lvd142m", 384),
    "DINOv2-B": ("vit_base_patch14_dinov2.lvd142m", 768),
    "DINOv2-L": ("vit_large_patch14_dinov2.lvd142m", 1024),
}
"""Their names in timm, and their widths."""

TRAINED_BLOCKS = 4
"""The last so many blocks are trained by default, as SALAD and MegaLoc train them."""


class DinoV2(nn.Module):
    """A DINOv2 transformer: patch tokens and class token of the last block.

    What differs from timm's own forward pass is the positional embedding: timm resamples it with antialiasing, its
    authors without and with a scale that is off by a tenth of a patch, and all models built on it were trained so.
    """

    def __init__(self, network: Any, norm: bool = True) -> None:
        """Wrap timm's ``network``; without ``norm``, tokens come as they are before the last normalisation."""
        super().__init__()
        self.network = network
        self.patch_size = int(network.patch_embed.patch_size[0])
        if not norm:
            network.norm = nn.Identity()

    def forward(self, images: torch.Tensor) -> Features:
        """Return the features of ``images`` (B, 3, H, W).

        Raises:
            ProgeoError: a side is no multiple of the patches.
        """
        height, width = images.shape[-2:]
        if height % self.patch_size or width % self.patch_size:
            near = " x ".join(str(max(1, round(side / self.patch_size)) * self.patch_size) for side in (width, height))
            raise ProgeoError(
                f"DINOv2 cuts images into patches of {self.patch_size} x {self.patch_size} pixels, and {width} x "
                f"{height} is no multiple of that: use for example {near}."
            )
        patches = self.network.patch_embed(images)  # (B, h, w, C)
        batch, *grid, _ = patches.shape
        tokens = torch.cat([self.network.cls_token.expand(batch, -1, -1), patches.flatten(1, 2)], dim=1)
        tokens = self.network.norm(self.network.blocks(tokens + self._resample_positions(*grid)))
        cls, tokens = tokens[:, 0], tokens[:, 1:]
        return Features(map=tokens.transpose(1, 2).reshape(batch, -1, *grid), tokens=tokens, cls=cls)

    def _resample_positions(self, height: int, width: int) -> torch.Tensor:
        """Return the positional embedding (1, 1 + h w, C) of a grid of ``height`` by ``width`` patches."""
        positions: torch.Tensor = self.network.pos_embed
        side = round((positions.shape[1] - 1) ** 0.5)
        if (height, width) == (side, side):
            return positions
        of_patches = positions[:, 1:].transpose(1, 2).reshape(1, -1, side, side)
        scale = ((height + 0.1) / side, (width + 0.1) / side)
        resampled = F.interpolate(of_patches.float(), scale_factor=scale, mode="bicubic").to(positions.dtype)
        return torch.cat([positions[:, :1], resampled.flatten(2).transpose(1, 2)], dim=1)


@register_backbone(*NETWORKS)
def describe_dinov2(name: str, norm: bool = True) -> BackboneEntry:
    """Describe a DINOv2; the patch embedding and all but the last four blocks stay frozen.

    Args:
        name: of ``NETWORKS``.
        norm: whether the tokens are normalised after the last block, as SALAD has them; BoQ takes them as they are.
    """
    model_name, width = NETWORKS[name]

    def build(pretrained: bool) -> nn.Module:
        import timm

        network: nn.Module = timm.create_model(model_name, pretrained, num_classes=0, dynamic_img_size=True)
        return network

    def frozen(backbone: nn.Module) -> Iterable[nn.Parameter]:
        modules = [part for stage in split(backbone)[-TRAINED_BLOCKS:] for part in stage]
        trained = {id(parameter) for module in modules for parameter in module.parameters()}
        return [parameter for parameter in backbone.parameters() if id(parameter) not in trained]

    return BackboneEntry(
        name=name,
        build=build,
        cut=lambda network: DinoV2(network, norm),
        shapes=lambda backbone: FeatureShapes(width, width, width),
        frozen=frozen,
        stages=split,
        preprocessing=Preprocessing(322, interpolation="bicubic", square=True),
        classifier=(),
        source=f"timm, {model_name}",
        licence="Apache-2.0",
        ignored=("mask_token",),  # of its pretraining
        untrained_head=("cls", {}),
    )


def split(backbone: nn.Module) -> list[list[nn.Module]]:
    """Return the blocks of a DINOv2, the last one with the normalisation after it."""
    *blocks, last = backbone.get_submodule("network.blocks").children()
    return [*([block] for block in blocks), [last, backbone.get_submodule("network.norm")]]
