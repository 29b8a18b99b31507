"""Where to compute, with which software and from which seed; getting data there without making the device wait."""

from __future__ import annotations

import functools
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import numpy as np

from progeo.errors import ProgeoError

if TYPE_CHECKING:
    import torch

PACKAGES = ("progeo", "torch", "torchvision", "timm", "faiss-cpu", "numpy", "pillow")


def choose_device(name: str) -> torch.device:
    """Return the device for ``device``: auto takes the GPU where there is one.

    Raises:
        ProgeoError: the device asked for is not there.
    """
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(device for device, there in available.items() if there))
    if not available.get(name.partition(":")[0]):
        others = ", ".join(device for device, there in available.items() if there)
        raise ProgeoError(
            f"`device` {name}: PyTorch finds no such device here. Available: {others} (or `device` auto)."
        )
    return torch.device(name)


def copy_to(tensor: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """Return a tensor on a device; on CUDA without waiting until it is there, from pinned memory in parallel."""
    import torch

    # On MPS a copy that is not waited for can read memory that is free already (pytorch issue 139550).
    return tensor.to(device, non_blocking=torch.device(device).type == "cuda")


@functools.cache
def channel_constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return one value per channel, (C, 1, 1), made once per device, because making it waits for the device."""
    import torch

    with torch.inference_mode(False):  # made while describing, it must serve training too
        return torch.tensor(values, dtype=dtype, device=device).view(-1, 1, 1)


def derive_seed(*numbers: int) -> int:
    """Mix numbers (seed, epoch, step …) into one 63-bit seed."""
    # With their count, because NumPy fills short sequences up with zeros.
    return int(np.random.SeedSequence((len(numbers), *numbers)).generate_state(1, np.uint64)[0] >> 1)


def collect_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide the result."""
    versions = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # a package can be there under another name, as faiss from conda
            versions[package] = "not known"
    return versions
