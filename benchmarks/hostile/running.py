"""Commands of progeo run in processes of their own, at their limits, and a look at how they ended."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import re
import resource
import shutil
import signal
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import numpy as np
from PIL import Image

PRELOAD = ["progeo.models.files", "timm", "progeo.cli.program", "progeo.cli.train", "progeo.evaluation.evaluate"]
"""Not LanceDB, whose threads would start before a command gives up its rights, and keep them."""
PLACES = 8
NOBODY = 65534
LITTLE = ["--device", "cpu", "--num_workers", "1"]
TRACK = """<?xml version="1.0"?><gpx version="1.1" xmlns="http://www.topografix.com/GPX/1/1"><trk><trkseg>{}</trkseg></trk></gpx>"""
POINT = '<trkpt lat="{}" lon="13.4"><time>2024-05-01T{:02}:00:{:02}Z</time></trkpt>'


@dataclass(frozen=True)
class Limits:
    """What a command must do with: file descriptors, bytes of memory, no rights to the files of others."""

    descriptors: int | None = None
    memory: int | None = None
    is_nobody: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: of its exit; negative the signal that ended it; None where it was given up.
        text: what it wrote for people.
    """

    command: list[str]
    code: int | None
    text: str
    seconds: float

    def find_problem(self) -> str | None:
        """Return what is wrong with the end: neither success nor one clear message."""
        if self.code is None:
            return f"still running after {self.seconds:.0f} s"
        if "Traceback (most recent call last)" in self.text:
            return "traceback: " + self.text.strip().splitlines()[-1]
        if self.code not in (0, 1, 2):
            return f"exit code {self.code}"
        errors = len(re.findall(r"^Error: ", self.text, re.MULTILINE))
        if self.code == 2 and errors != 1:
            return f"{errors} messages: {' '.join(self.text.split())[-300:]}"
        return None


def _run(arguments: list[str], folder: Path, log: Path, limits: Limits) -> None:
    """Run a command in this process, which was forked for it."""
    os.setpgid(0, 0)
    os.chdir(folder)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if limits.is_nobody:
        os.environ["HOME"] = "/nonexistent"
        give_up_rights()
    if limits.memory is not None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + limits.memory, used + limits.memory))
    if limits.descriptors is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limits.descriptors, limits.descriptors))
    from progeo import cli

    code = cli.main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def give_up_rights() -> None:
    """Let the modes of files that others own apply to this process for good, though it is root's."""
    version_3, itself = 0x20080522, 0  # capset(2)
    if ctypes.CDLL(None, use_errno=True).capset(struct.pack("Ii", version_3, itself), bytes(24)):
        raise OSError(ctypes.get_errno(), "rights cannot be given up")


def give_away(folder: Path) -> None:
    """Make a folder and all in it somebody else's, whom everybody may read after."""
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            os.chown(path, NOBODY, NOBODY)
            path.chmod(0o755 if path.is_dir() else 0o644)


class Runner:
    """Runs commands; one process has imported everything, each command is a fork of it."""

    def __init__(self, folder: Path) -> None:
        os.environ["PYTHONWARNINGS"] = "ignore:lancedb fork support"
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOAD)
        self._log = folder / "log.txt"
        self._log.touch()
        self._log.chmod(0o666)

    def start(self, arguments: list[str], folder: Path, limits: Limits | None = None) -> ForkServerProcess:
        """Start a command in a folder."""
        process = self._context.Process(target=_run, args=(arguments, folder, self._log, limits or Limits()))
        process.start()
        return process

    def call(self, function: Callable[..., None], *arguments: object) -> None:
        """Call a function in a process that has imported everything."""
        process = self._context.Process(target=function, args=arguments)
        process.start()
        process.join()
        if process.exitcode != 0:
            raise SystemExit(f"{function.__name__} failed")

    def run(self, arguments: list[str], folder: Path, limits: Limits | None = None, *, seconds: float = 120) -> Outcome:
        """Run a command to its end, or for so many seconds."""
        begin = time.monotonic()
        process = self.start(arguments, folder, limits)
        process.join(seconds)
        code = process.exitcode
        if code is None:
            end(process)
        text = self._log.read_text(encoding="utf-8", errors="replace")
        return Outcome(arguments, code, text, time.monotonic() - begin)


def end(process: ForkServerProcess) -> None:
    """Kill a command and what it has started."""
    assert process.pid is not None
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # it is not yet a group of its own, or gone
        process.kill()
    process.join()


def make_town(folder: Path) -> None:
    """Write ``train``, ``val``, ``test`` and a walk with its track: eight places, each a pattern; and a small model."""
    from progeo.models.building import create_model
    from progeo.models.files import save_model

    generator = np.random.default_rng(0)
    for place in range(PLACES):
        pattern = Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((48, 40), 0)
        photos = {"train": 6, "val/database": 1, "val/queries": 1, "test/database": 3, "test/queries": 3}
        for part, count in photos.items():
            (folder / part).mkdir(parents=True, exist_ok=True)
            for photo in range(count):
                noise = generator.integers(-20, 20, (40, 48, 3))
                pixels = (np.asarray(pattern) + noise).clip(0, 255).astype(np.uint8)
                east = 500005 + 100 * (place // 4) + 10 * (place % 4)
                Image.fromarray(pixels).save(folder / part / f"@{east}.{photo}@4000005@31@S@@@p{photo}@@0@@@@@@.jpg")
    (folder / "walk").mkdir()
    for second, path in enumerate(sorted((folder / "train").iterdir())[:20]):
        shutil.copy(path, folder / "walk" / f"{second:02}.jpg")
    points = "".join(POINT.format(52.5 + second / 20_000, 10, second) for second in range(20))
    (folder / "walk.gpx").write_text(TRACK.format(points))
    network = create_model("timm:test_resnet", descriptor_dim=16, weights="none", seed=0).eval()
    network.set_image_size(32)
    save_model(folder / "model.safetensors", network, training={}, metrics={}, licence="none")


def renew(folder: Path, source: Path) -> Path:
    """Make a folder anew as a copy of another."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    return folder
