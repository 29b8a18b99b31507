"""The one family of errors that a user can do something about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

# How PyTorch words it, on CUDA and MPS, on the CPU, and in CUDA's libraries; only CUDA has a class of its own for it.
SIGNS_OF_LITTLE_MEMORY = ("out of memory", "DefaultCPUAllocator", "ALLOC_FAILED")


class ProgeoError(Exception):
    """Something the user can mend: the message says what was wrong, where (path, row, option), and what to do.

    The command line prints the message alone and exits with ``exit_code``; a traceback appears only with ``debug``.
    """

    exit_code = 2


class ProblemsFoundError(ProgeoError):
    """A check has done its work, and found something to mend."""

    exit_code = 1


@contextmanager
def explain_lack_of_memory(remedy: str) -> Iterator[None]:
    """Turn running out of memory, the machine's or a device's, into a ProgeoError that says what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        reason = str(error).split("\n")[0]
        if not isinstance(error, MemoryError) and not any(sign in reason for sign in SIGNS_OF_LITTLE_MEMORY):
            raise
        raise ProgeoError(f"There is too little memory: {remedy}. ({reason or 'MemoryError'})") from error
