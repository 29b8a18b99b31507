"""Stopping a run, on Ctrl-C or an error: at a moment when the work can be kept, and saying what is left.

Signals reach the main thread alone: in another one, as where a notebook or a service trains, nothing is handled.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from progeo.console import console
from progeo.errors import ProgeoError, explain_lack_of_memory


class StoppedError(ProgeoError):
    """A run that has started and could not go on; what it has done is in ``folder``, where it continues."""

    def __init__(self, message: str, folder: Path) -> None:
        """Keep the folder."""
        super().__init__(message)
        self.folder = folder


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


@contextmanager
def say_what_is_left(folder: Path, left: str = "") -> Iterator[None]:
    """Say where an interruption or an error leaves the run in ``folder``, and what is still to be done.

    Raises:
        KeyboardInterrupt: with ``left`` as its text.
        StoppedError: for an error of the block, or for running out of memory.
    """
    try:
        with explain_lack_of_memory("lower `infer_batch_size`"):
            yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(*filter(None, [left])) from error
    except StoppedError:
        raise
    except ProgeoError as error:
        kept = "The checkpoint before is kept." if any(folder.glob("*checkpoint.pth")) else ""
        message = " ".join(filter(None, (str(error).rstrip(".") + ".", left, kept)))
        raise StoppedError(message, folder) from error


@contextmanager
def interrupt_on_termination() -> Iterator[None]:
    """Let SIGTERM, with which clusters stop a job, raise KeyboardInterrupt as Ctrl-C does."""
    with handle_signals(signal.default_int_handler, signal.SIGTERM):
        yield
