"""Choosing where to compute, and getting data there without making the device wait."""

from __future__ import annotations

import functools

import torch

from progeo.errors import ProgeoError


def choose_device(name: str) -> torch.device:
    """Return the device for ``device``: auto takes the GPU where there is one.

    Raises:
        ProgeoError: the device asked for is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(device for device, there in available.items() if there))
    if not available[name]:
        others = ", ".join(device for device, there in available.items() if there)
        raise ProgeoError(
            f"`device` {name}: PyTorch finds no such device here. Available: {others} (or `device` auto)."
        )
    return torch.device(name)


def copy_to(tensor: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """Return a tensor on a device; on CUDA without waiting until it is there, from pinned memory in parallel."""
    # On MPS a copy that is not waited for can read memory that is free already (pytorch issue 139550).
    return tensor.to(device, non_blocking=torch.device(device).type == "cuda")


@functools.cache
def channel_constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return one value per channel, (C, 1, 1), made once per device, because making it waits for the device."""
    with torch.inference_mode(False):  # made while describing, it must serve training too
        return torch.tensor(values, dtype=dtype, device=device).view(-1, 1, 1)
