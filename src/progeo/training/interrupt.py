"""Stopping on Ctrl-C at a moment when the work can be kept.

Signals reach the main thread alone: in another one, as where a notebook or a service trains, nothing is handled.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from progeo.console import console


@contextmanager
def handle_signals(handler: Callable[[int, FrameType | None], object], *numbers: signal.Signals) -> Iterator[None]:
    """Let ``handler`` take signals within the block, in the main thread."""
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handler) for number in numbers if is_main}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


class Interruption:
    """Whether the user, or the cluster, has asked to stop."""

    def __init__(self) -> None:
        """Start without a request."""
        self.requested = False

    def raise_if_requested(self) -> None:
        """Raise KeyboardInterrupt if a stop was asked for."""
        if self.requested:
            raise KeyboardInterrupt


@contextmanager
def delay_interruption(unit: str = "step") -> Iterator[Interruption]:
    """Turn the first SIGINT or SIGTERM into a request that the loop reads between two steps, or two other units.

    A second one stops at once.
    """
    interruption = Interruption()

    def request(signal_number: int, frame: FrameType | None) -> None:
        if interruption.requested:
            raise KeyboardInterrupt
        interruption.requested = True
        console.print(f"Stopping after the {unit} in flight, to leave a checkpoint (again to stop at once)")

    with handle_signals(request, signal.SIGINT, signal.SIGTERM):
        yield interruption
