"""The outputs of earlier stages of a backbone, taken in the one forward pass."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn


@contextmanager
def collect_maps(backbone: nn.Module, modules: Mapping[str, str]) -> Iterator[dict[str, torch.Tensor]]:
    """Collect what submodules give while the backbone runs inside the block.

    Only the calling thread's outputs count, so that several threads may run one network. The hooks are gone after the
    block: a copy of the network, a folded one for example, or a traced graph, has none.

    Args:
        backbone: the network.
        modules: from the name of a map to that of the submodule, as ``get_submodule`` takes it.

    Yields:
        A dictionary, filled as the backbone runs: from names to maps (B, C, h, w).
    """
    maps: dict[str, torch.Tensor] = {}
    thread = threading.get_ident()

    def keep(name: str, module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        if threading.get_ident() == thread:
            maps[name] = output

    with ExitStack() as stack:
        for name, module in modules.items():
            stack.enter_context(backbone.get_submodule(module).register_forward_hook(partial(keep, name)))
        yield maps
