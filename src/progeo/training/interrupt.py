"""Stopping on Ctrl-C at a moment when the work can be kept."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from progeo.console import console


@contextmanager
def interrupt_on_termination() -> Iterator[None]:
    """Let SIGTERM, with which clusters stop a job, raise KeyboardInterrupt as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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

    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
