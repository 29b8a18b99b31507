"""Machines at their limits: a disk that is full, and users who may not read or write."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from benchmarks.hostile.running import give_up_rights


def _can_mount() -> bool:
    command = ["unshare", "--mount", "true"]
    with suppress(OSError):
        return os.geteuid() == 0 and not subprocess.run(command, check=False, capture_output=True).returncode
    return False


needs_mount = pytest.mark.skipif(not _can_mount(), reason="a file system in memory takes root on Linux")
needs_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be another user")


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


def _call(arguments: list[str], folder: str, output: str) -> None:
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.environ["HOME"] = "/nonexistent"
    os.environ.pop("XDG_CACHE_HOME", None)
    os.chdir(folder)
    give_up_rights()
    from progeo import cli

    os._exit(cli.main(arguments))


def run_as_nobody(arguments: list[str], folder: Path) -> tuple[int | None, str]:
    """Run a command of progeo as a user who owns nothing, in a process of its own; return its code and its words."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["progeo.places.database", "progeo.models.files", "timm", "progeo.cli.program"])
    with tempfile.TemporaryDirectory() as place:
        output = Path(place) / "output"
        process = context.Process(target=_call, args=(arguments, str(folder), str(output)))
        process.start()
        process.join(120)
        if process.exitcode is None:
            process.kill()
            process.join()
        return process.exitcode, output.read_text()
