"""Batch normalisation as a part of the convolution before it: the same descriptors from a faster network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

from progeo.models.images import normalize
from progeo.pixels.recipe import Preprocessing

Network = TypeVar("Network", bound=nn.Module)

TOLERANCE = 1e-4


@torch.no_grad()
def fold_batch_norms(
    network: Network, preprocessing: Preprocessing, describe: Callable[[Network, torch.Tensor], torch.Tensor]
) -> Network:
    """Return a network for inference that gives the same as ``network``, in less time where it has convolutions.

    With fixed statistics a batch normalisation scales and shifts channels, which the convolution before it can do
    itself. Nothing says which module comes after which, so they are taken in the order in which they were registered,
    and the outcome is compared on one image: where it differs, ``network`` itself is returned.

    Args:
        network: in eval mode; it is left as it is. The copy shares its other tensors.
        preprocessing: how it wants its images.
        describe: from the network, or its copy, and normalised images (1, 3, H, W) to descriptors (1, D).
    """
    pairs = list(_find_pairs(network))
    if not pairs:
        return network
    tensors = [*network.parameters(), *network.buffers()]
    folded = copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})
    for parent, (first, convolution), (second, norm) in pairs:
        module = folded.get_submodule(parent)
        setattr(module, first, fuse_conv_bn_eval(convolution, norm))
        # Those of timm have their activation with them.
        setattr(module, second, getattr(norm, "act", nn.Identity()))
    size = preprocessing.image_size
    pixels = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    images = normalize(pixels.to(tensors[0].device), preprocessing)
    expected, found = describe(network, images), describe(folded, images)
    is_same = (found - expected).norm() <= TOLERANCE * expected.norm()
    return folded if is_same else network


def _find_pairs(network: nn.Module) -> Iterator[tuple[str, tuple[str, nn.Conv2d], tuple[str, nn.BatchNorm2d]]]:
    """Yield modules by name, and a convolution in each and the normalisation that follows, by their names in it."""
    for name, parent in network.named_modules():
        children = list(parent.named_children())
        for (first, convolution), (second, norm) in pairwise(children):
            if (
                isinstance(convolution, nn.Conv2d)
                and isinstance(norm, nn.BatchNorm2d)
                and norm.track_running_stats
                and norm.num_features == convolution.out_channels
            ):
                yield name, (first, convolution), (second, norm)
