"""Telling one model from another: a hash of its weights, and of what else its results depend on."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from progeo.models.network import PlaceNetwork

PUBLISHED_HEADS = ("gem", "identity")
"""Those of 0.1.0, which backbone and dimension decided."""


def compute_fingerprint(network: PlaceNetwork) -> str:
    """Return 64 hexadecimal digits that two networks share only if they give the same descriptors."""
    spec = network.spec
    settings: dict[str, Any] = {
        "backbone": spec.backbone,
        "fc_output_dim": spec.descriptor_dim,  # as 0.1.0 called it, so that its databases keep their fingerprint
        "preprocessing": spec.preprocessing.to_dict(),
    }
    if spec.head not in PUBLISHED_HEADS or spec.head_arguments:
        settings |= {"head": spec.head, "head_arguments": spec.head_arguments}
    if spec.backbone_arguments:
        settings["backbone_arguments"] = spec.backbone_arguments
    return fingerprint_model(network, **settings)


def fingerprint_model(network: torch.nn.Module, **settings: object) -> str:
    """Return 64 hexadecimal digits: the hash of all weights and of the settings, such as resizing."""
    digest = hashlib.sha256(repr(sorted(settings.items())).encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"\n{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
