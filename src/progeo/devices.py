"""Choosing where to compute."""

from __future__ import annotations

import torch

from progeo.errors import ProgeoError


def choose_device(name: str) -> torch.device:
    """Return the device for ``--device``: auto takes the GPU where there is one.

    Raises:
        ProgeoError: the device asked for is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(device for device, there in available.items() if there))
    if not available[name]:
        others = ", ".join(device for device, there in available.items() if there)
        raise ProgeoError(
            f"--device {name}: PyTorch finds no such device here. Available: {others} (or --device auto)."
        )
    return torch.device(name)
