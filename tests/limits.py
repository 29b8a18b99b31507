"""Machines at their limits: a disk that is full, and users who may not read or write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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


SERVER = """
import json, os, sys
import timm, torch
from progeo import cli
import progeo.cli.program, progeo.evaluation.evaluate, progeo.models.files
torch.set_num_threads(1)
os.environ["HOME"] = "/nonexistent"
os.environ.pop("XDG_CACHE_HOME", None)
for line in sys.stdin:
    arguments, folder, output = json.loads(line)
    if not (child := os.fork()):
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.chdir(folder)
        give_up_rights()  # of this thread, and of those that it starts from now on
        os._exit(cli.main(arguments))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Imports once what commands need, but for LanceDB, whose threads would keep their rights."""


class Nobody:
    """Runs commands of progeo without any right to files of others."""

    def __init__(self, folder: Path) -> None:
        """Start the process that forks for each command; what they say goes to a file in the folder."""
        self._output = folder / "output.txt"
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path]),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-c", SERVER]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(self, arguments: list[str], folder: Path) -> tuple[int, str]:
        """Run a command in a folder; return its code and its words."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([arguments, str(folder), str(self._output)]) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        return code, self._output.read_text()

    def close(self) -> None:
        """End the process."""
        with self._process:
            assert self._process.stdin
            self._process.stdin.close()
