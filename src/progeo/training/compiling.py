"""Compiling the network: faster steps after a slow start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from progeo.errors import ProgeoError
from progeo.models.network import PlaceNetwork

COMPILER = ("torch._dynamo", "torch._inductor")


def compile_network(network: PlaceNetwork) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what gives the same descriptors as the network, with its parameters; it is compiled when first called."""
    compiled: Callable[[torch.Tensor], torch.Tensor] = torch.compile(network)
    return compiled


@contextmanager
def explain_compiler() -> Iterator[None]:
    """Turn an error of the compiler, which runs in the first step, into a ProgeoError."""
    try:
        yield
    except RuntimeError as error:
        if not type(error).__module__.startswith(COMPILER):
            raise
        reason = " ".join(str(error).split("\n\n")[0].split())
        raise ProgeoError(
            f"PyTorch cannot compile this network here: {reason}. On the CPU it needs a C++ compiler such as g++; "
            "without one leave out `compile`."
        ) from error
