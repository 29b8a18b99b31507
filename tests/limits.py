"""A disk that is full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


def _can_mount() -> bool:
    command = ["unshare", "--mount", "true"]
    with suppress(OSError):
        return os.geteuid() == 0 and not subprocess.run(command, check=False, capture_output=True).returncode
    return False


needs_mount = pytest.mark.skipif(not _can_mount(), reason="a file system in memory takes root on Linux")


@contextmanager
def full_disk(folder: Path, kilobytes: int) -> Iterator[Callable[..., None]]:
    """Make a folder a small file system in memory; yield what fills it but for some kilobytes."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("nothing may be mounted here")

    def fill(leave: int) -> None:
        with (folder / "ballast").open("wb", buffering=0) as file:
            with suppress(OSError):
                while True:
                    file.write(bytes(4096))
            file.truncate(max(0, file.tell() - 1024 * leave))

    try:
        yield fill
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
