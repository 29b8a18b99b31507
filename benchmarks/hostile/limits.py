"""Commands on a machine at its limits: a full disk, no right to write, few file descriptors, little memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.hostile.kills import CASES, INDEX
from benchmarks.hostile.running import Limits, Runner, give_away, make_town

FULL = "full disk"
NO_RIGHT = "no right to write"
LIMITS = {
    FULL: Limits(),
    NO_RIGHT: Limits(is_nobody=True),
    "24 file descriptors": Limits(descriptors=24),
    "48 file descriptors": Limits(descriptors=48),
    "50 MB more memory": Limits(memory=50_000_000),
    "400 MB more memory": Limits(memory=400_000_000),
}


@contextmanager
def mount_full(folder: Path, kilobytes: int) -> Iterator[bool]:
    """Make the folder a file system in memory with so much room, where that is allowed."""
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", folder],
            check=False,
            stderr=subprocess.DEVNULL,
        ).returncode
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)


def run(folder: Path, count: int, deadline: float, seed: int) -> tuple[list[list[str]], list[str]]:
    """Run the commands under each limit, at most ``count`` in all; return a row a limit, and what went wrong."""
    runner = Runner(folder)
    runner.call(make_town, folder / "town")
    prepared = folder / "prepared"
    prepared.mkdir()
    outcome = runner.run(INDEX, prepared)
    if outcome.code != 0:
        return [], [outcome.text]
    found: dict[str, list[int | None]] = defaultdict(list)
    problems = []
    plan = [
        (case, limit, room)
        for case in CASES
        for limit in LIMITS
        for room in ((16, 200, 900) if limit == FULL else (0,))
    ]
    for case, limit, room in plan[:count]:
        if time.monotonic() > deadline:
            break
        place = folder / "place"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(mode=0o755)
        if limit == NO_RIGHT and os.geteuid() != 0:  # only root can give files away
            continue
        with mount_full(place, 4 * room + 1000) if limit == FULL else no_mount() as there:
            if not there:
                continue
            if case.before:
                shutil.copytree(prepared, place, dirs_exist_ok=True)
            if limit == NO_RIGHT:
                give_away(place)
            kept = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
            if limit == FULL:
                fill(place / "ballast", room)
            outcome = runner.run(case.arguments, place, LIMITS[limit])
            (place / "ballast").unlink(missing_ok=True)
            found[limit].append(outcome.code)
            if problem := outcome.find_problem():
                problems.append(f"{limit} {room or ''}, {case.name}: {problem}")
            if outcome.code and any(not path.is_file() or path.read_bytes() != data for path, data in kept.items()):
                problems.append(f"{limit} {room or ''}, {case.name}: a file that was there has changed")
            if limit == FULL and outcome.code == 2:
                again = runner.run(case.arguments, place)
                if again.code not in (0, 1):
                    problems.append(f"{limit}, {case.name}, again with room: {again.text[-300:]}")
    rows = [
        [limit, str(len(codes)), str(codes.count(0) + codes.count(1)), str(codes.count(2))]
        for limit, codes in found.items()
    ]
    return rows, problems


@contextmanager
def no_mount() -> Iterator[bool]:
    """Leave the folder as it is."""
    yield True


def fill(path: Path, room: int) -> None:
    """Fill a file system but for so many kilobytes."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
        file.truncate(max(0, file.tell() - 1024 * room))
