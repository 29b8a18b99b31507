"""Telling one model from another: a hash of its weights, and of what else its results depend on."""

from __future__ import annotations

import hashlib

import torch


def fingerprint_model(network: torch.nn.Module, **settings: object) -> str:
    """Return 64 hexadecimal digits: the hash of all weights and of the settings, such as resizing."""
    digest = hashlib.sha256(repr(sorted(settings.items())).encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"\n{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
