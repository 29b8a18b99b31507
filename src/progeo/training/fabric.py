"""Lightning Fabric: one device and its precision."""

from __future__ import annotations

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision, Precision


def create_fabric(device: torch.device, use_amp16: bool) -> Fabric:
    """Return Lightning Fabric for one device, in float32 or mixed precision (float16 on CUDA, else bfloat16)."""
    precision = Precision()
    if use_amp16 and device.type == "cuda":
        precision = MixedPrecision("16-mixed", device.type, torch.amp.GradScaler(device.type))
    elif use_amp16:
        precision = MixedPrecision("bf16-mixed", device.type)
    return Fabric(accelerator=device.type, devices=1, plugins=[precision])


def get_scaler(fabric: Fabric) -> torch.amp.GradScaler:
    """Return the loss scale of float16 training, a passive one for other precisions."""
    return getattr(fabric.strategy.precision, "scaler", None) or torch.amp.GradScaler(enabled=False)
