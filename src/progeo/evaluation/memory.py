"""How much memory encoding takes on this machine, at its peak."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from progeo.models.engines.graphs import ExportedModel

if TYPE_CHECKING:
    from progeo.models.network import PlaceNetwork

STATUS = Path("/proc/self/status")
INTERVAL = 0.01
"""Seconds between two looks at the memory of the process."""


class MemoryWatch:
    """Watches memory while something runs.

    On a GPU of CUDA ``peak`` is all that PyTorch held there. Elsewhere it is what the process took beyond what it had
    at the start, and None where the system does not tell.
    """

    def __init__(self, device: str) -> None:
        """Watch a device, such as ``cpu`` or ``cuda:0``."""
        self.device = device
        self.peak: int | None = None
        self._done = threading.Event()

    def __enter__(self) -> MemoryWatch:
        """Start watching."""
        if self.device.startswith("cuda"):
            import torch

            torch.cuda.reset_peak_memory_stats(self.device)
            return self
        _return_freed_memory()
        self._start = read_own_memory()
        if self._start is not None:
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop watching."""
        if self.device.startswith("cuda"):
            import torch

            self.peak = torch.cuda.max_memory_allocated(self.device)
        elif self._start is not None:
            self._done.set()
            self._thread.join()

    def _watch(self) -> None:
        while True:
            done = self._done.wait(INTERVAL)
            self.peak = max(self.peak or 0, (read_own_memory() or 0) - (self._start or 0))
            if done:
                return


def read_own_memory(status: Path = STATUS) -> int | None:
    """Return the bytes of this process that no file stands behind; None where the system does not tell."""
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:")), None)


def count_weights(model: PlaceNetwork | ExportedModel) -> int:
    """Return the bytes of a model's weights."""
    if isinstance(model, ExportedModel):
        return len(model.read_content())
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


def _return_freed_memory() -> None:
    """Give back what was freed before, which would hide what is taken from now on. Only the GNU C library can."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
