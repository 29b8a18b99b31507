"""What a stage is about to do, as a table, before its first long step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from progeo.console import format_count


@dataclass(frozen=True)
class StepCost:
    """What one training step took: its time in seconds, and the bytes that its backward pass kept."""

    seconds: float
    kept_bytes: int


def measure_step(step: Callable[[], torch.Tensor]) -> StepCost:
    """Measure a step that returns a loss: forward and backward, once to warm up and once for the clock.

    The gradients are the caller's to drop; random numbers drawn in it do not count.
    """
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    seconds = 0.0
    with torch.random.fork_rng():
        for _ in range(2):
            kept.clear()  # or the addresses of both steps would count
            start = time.monotonic()
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                loss = step()
            loss.backward()  # type: ignore[no-untyped-call]
            loss.item()  # waits for the device
            seconds = time.monotonic() - start
    return StepCost(seconds, sum(kept.values()))


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """Return how many parameters of a module are frozen and how many are trained."""
    frozen = sum(parameter.numel() for parameter in module.parameters() if not parameter.requires_grad)
    return frozen, sum(parameter.numel() for parameter in module.parameters()) - frozen


def format_overview(title: str, parts: dict[str, tuple[int, int]], rows: dict[str, str]) -> str:
    """Return a table: for each part its frozen and trained parameters, then further rows."""
    lines = [title, f"  {'':24} {'frozen':>12} {'trained':>12}"]
    lines += [f"  {name:24} {frozen:12,} {trained:12,}" for name, (frozen, trained) in parts.items()]
    return "\n".join([*lines, *(f"  {name:24} {value}" for name, value in rows.items())])


def estimate_memory(parts: dict[str, tuple[int, int]], cost: StepCost) -> str:
    """Say how much memory weights, gradients and Adam's two moments, and a step's activations take."""
    frozen, trained = (sum(counts) for counts in zip(*parts.values(), strict=True))
    # Four bytes a number: the weight, and of a trained one its gradient and two moments too.
    return f"about {(4 * frozen + 16 * trained + cost.kept_bytes) / 1e9:.1f} GB on the device"


def estimate_time(seconds: float) -> str:
    """Say how long something will take."""
    return f"about {format_duration(seconds)}, measured on one step"


def format_duration(seconds: float) -> str:
    """Return a duration in a unit that fits, to about a tenth of it: ``40 seconds``, ``5 minutes``, ``2.5 days``."""
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= 1.5 * length:
            count = seconds / length
            return f"{count:.1f}".removesuffix(".0") + f" {unit}s" if count < 3 else f"{count:.0f} {unit}s"
    return format_count(max(1, round(seconds)), "second")
