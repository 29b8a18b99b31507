"""Where to compute, with which software and from which seed; getting data there without making the device wait."""

from __future__ import annotations

import functools
import logging
import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from progeo.errors import ProgeoError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger("progeo")

PACKAGES = ("progeo", "torch", "torchvision", "timm", "faiss-cpu", "numpy", "pillow")


def choose_device(name: str, argument: str = "device") -> torch.device:
    """Return the device for an argument, such as ``device``: auto takes the GPU where there is one.

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
            f"`{argument}` {name}: PyTorch finds no such device here. Available: {others} (or `device` auto)."
        )
    return torch.device(name)


PRECISIONS = ("float32", "half", "bf16", "fp16")


@functools.cache  # which also says its line once
def choose_precision(name: str, device: torch.device) -> str:
    """Return ``float32``, ``bf16`` or ``fp16`` for ``precision``; half is bf16 where the hardware has it, else fp16.

    A processor without instructions for bf16 would take many times as long as in float32, which it takes then, with one
    line in the log; fp16 is for GPUs alone.

    Raises:
        ProgeoError: there is no such precision.
    """
    import torch

    if name not in PRECISIONS:
        raise ProgeoError(f"`precision` is {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}, not {name!r}.")
    if name == "float32":
        return name
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16" if name == "bf16" or (name == "half" and has_bf16) else "fp16"
    if device.type == "cpu" and (name == "fp16" or not has_bf16_instructions()):
        logger.warning(f"This processor has no instructions for {name if name != 'half' else 'bf16'}: using float32")
        return "float32"
    return "bf16" if device.type == "cpu" else "fp16"


def has_bf16_instructions() -> bool:
    """Whether the processor computes in bf16 itself."""
    import torch

    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def may_have_gpu() -> bool:
    """Whether this machine could have a GPU that PyTorch uses; told without loading PyTorch, which says it for sure."""
    signs = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
    return platform.system() == "Darwin" or bool(shutil.which("nvidia-smi")) or any(map(os.path.exists, signs))


def count_processors(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many processors this process may keep busy, at least 1.

    That is the least of its affinity, the quota of its control group (of either version) and ``OMP_NUM_THREADS``.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    limits = [float(len(affinity(0)) if affinity else os.cpu_count() or 1)]
    if (omp := os.environ.get("OMP_NUM_THREADS", "")).isdecimal() and int(omp):
        limits.append(int(omp))
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((cgroup / name).read_text() for name in files).split()
            if int(quota) > 0:  # "max", or -1, is no limit
                limits.append(int(quota) / int(period))
        except (OSError, ValueError):
            continue
    return max(1, int(min(limits)))


def is_first_process() -> bool:
    """Whether this process is the only one, or the first of those that torchrun or SLURM has started together."""
    return os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0"


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
