"""Hostile uploads to a service of this machine, with good photos among them."""

from __future__ import annotations

import io
import os
import random
import signal
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from benchmarks.hostile.kills import INDEX
from benchmarks.hostile.running import Runner, make_town

SENDERS = 8
IDLE = 520
DRIBBLING_SECONDS = 15
MOST_MEMORY = 4 * 2**30
READY_SECONDS = 180
SECONDS_MORE = 1.0


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def make_png(
    width: int, height: int, *, colours: int = 2, depth: int = 8, before: bytes = b"", rows: int | None = None
) -> bytes:
    """Return a black PNG, or the beginning of one with fewer rows."""
    channels = {0: 1, 2: 3, 6: 4}[colours]
    row = bytes(1 + (width * channels * depth + 7) // 8)
    packed = zlib.compressobj()
    data = b"".join(packed.compress(row) for _ in range(height if rows is None else rows)) + packed.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def encode(size: tuple[int, int], format: str, generator: np.random.Generator, **settings: object) -> bytes:
    """Return noise as a file."""
    content = io.BytesIO()
    pixels = generator.integers(0, 256, (size[1] // 8 + 1, size[0] // 8 + 1, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size).save(content, format=format, **settings)
    return content.getvalue()


def damage(content: bytes, moments: random.Random) -> bytes:
    """Return a file with bytes changed, cut off or doubled."""
    data = bytearray(content)
    match moments.randrange(3):
        case 0:
            for _ in range(moments.choice((1, 4, 64))):
                data[moments.randrange(len(data))] = moments.randrange(256)
        case 1:
            del data[moments.randrange(len(data)) :]
        case _:
            at = moments.randrange(len(data))
            data[at:at] = data[at : at + 4096]
    return bytes(data)


def make_uploads(count: int, seed: int) -> list[tuple[str, bytes]]:
    """Return kinds and files, mixed."""
    generator, moments = np.random.default_rng(seed), random.Random(seed)
    good = {format: encode((320, 240), format, generator) for format in ("JPEG", "PNG", "WEBP", "AVIF")}
    segments = encode((64, 48), "JPEG", generator)
    slow = [
        make_png(8000, 8000),
        make_png(8000, 8000, colours=6, depth=16),
        encode((7000, 7000), "WEBP", generator),
        encode((6000, 8000), "JPEG", generator, progressive=True),
    ]
    shapes = (
        (1, 65_535),
        (65_535, 1),
        (3, 60_000),
        (99_999, 200),
        (20, 9_999),
        (60_000, 60_000),
        (2**31 - 1, 1),
        (0, 5),
    )
    makers: dict[str, tuple[float, Callable[[], bytes]]] = {
        "extreme shape": (0.2, lambda: make_png(*moments.choice(shapes), rows=2)),
        "extreme shape, whole": (0.03, lambda: make_png(*moments.choice(((4000, 8), (9, 4000), (400, 1))))),
        "slow to decode": (0.04, lambda: moments.choice(slow)),
        "many chunks": (0.04, lambda: make_png(8, 8, before=chunk(b"prVt", b"") * moments.choice((50_000, 200_000)))),
        "many segments": (0.04, lambda: segments[:2] + b"\xff\xfe\0\x02" * 300_000 + segments[2:]),
        "inflating text": (0.05, lambda: make_png(8, 8, before=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8))))),
        "no photo": (
            0.15,
            lambda: moments.choice((b"", moments.randbytes(5000), b"GIF89a" + bytes(500), b"BM" + bytes(90))),
        ),
        "damaged": (0.45, lambda: damage(good[moments.choice(list(good))], moments)),
    }
    uploads = [(kind, make()) for kind, (share, make) in makers.items() for _ in range(max(1, round(share * count)))]
    moments.shuffle(uploads)
    return uploads


class Service:
    """``progeo serve`` in a process of its own."""

    def __init__(self, folder: Path, *, descriptors: int | None = None) -> None:
        limit = (
            f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({descriptors},) * 2); "
            if descriptors
            else ""
        )
        code = f"{limit}from progeo.cli.program import main; raise SystemExit(main())"
        self.log = folder / "service.txt"
        command = [sys.executable, "-c", code, "serve", "--database", "places", "--port", "0", "--device", "cpu"]
        with self.log.open("w") as stderr:
            self._process = subprocess.Popen(command, cwd=folder, stderr=stderr)
        begin = time.monotonic()
        while "http://" not in self.log.read_text():
            if self._process.poll() is not None or time.monotonic() - begin > READY_SECONDS:
                raise SystemExit(f"progeo serve did not start: {self.log.read_text()}")
            time.sleep(0.1)
        self.address = self.log.read_text().partition("http://")[2].split()[0]
        self.most_memory = 0
        self._watching = True
        self._watch = threading.Thread(target=self._measure)
        self._watch.start()

    def send(self, photo: bytes, name: str = "photo.jpg") -> tuple[int, float]:
        """Send a photo; return the status, 0 where there was no answer, and the seconds."""
        begin = time.perf_counter()
        try:
            status = httpx.post(
                f"http://{self.address}/api/locate", files={"photos": (name, photo)}, timeout=90
            ).status_code
        except httpx.HTTPError:
            status = 0
        return status, time.perf_counter() - begin

    def close(self) -> str:
        """End it and return its log, without the line that announces it."""
        self._watching = False
        self._watch.join()
        self._process.send_signal(signal.SIGINT)
        self._process.wait(30)
        return "\n".join(line for line in self.log.read_text().splitlines() if "http://" not in line)

    def _measure(self) -> None:
        """Note the memory of the service and of the processes that decode for it."""
        while self._watching:
            parents: dict[int, int] = {}
            sizes: dict[int, int] = {}
            for entry in Path("/proc").glob("[0-9]*/stat"):
                try:
                    fields = entry.read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                number = int(entry.parent.name)
                parents[number], sizes[number] = int(fields[1]), int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
            family = {self._process.pid}
            for _ in range(3):
                family |= {number for number, parent in parents.items() if parent in family}
            self.most_memory = max(self.most_memory, sum(sizes.get(number, 0) for number in family))
            time.sleep(0.2)


def run(folder: Path, count: int, deadline: float, seed: int) -> tuple[list[list[str]], list[str]]:
    """Send the uploads; return a row for each kind, and what went wrong."""
    runner = Runner(folder)
    runner.call(make_town, folder / "town")
    (folder / "served").mkdir()
    outcome = runner.run(INDEX, folder / "served")
    if outcome.code != 0:
        return [], [outcome.text]
    photo = encode((4000, 3000), "JPEG", np.random.default_rng(seed))
    service = Service(folder / "served")
    problems: list[str] = []
    answers: dict[str, list[tuple[int, float]]] = defaultdict(list)
    usual = [service.send(photo) for _ in range(10)][2:]
    uploads = make_uploads(count, seed)
    stopping = threading.Event()

    def send(kind: str, content: bytes) -> None:
        if time.monotonic() < deadline:
            answers[kind].append(service.send(content, random.Random(len(content)).choice(NAMES)))

    def send_good() -> None:
        while not stopping.wait(1):
            answers["good photo meanwhile"].append(service.send(photo))

    good = threading.Thread(target=send_good)
    good.start()
    with ThreadPoolExecutor(SENDERS) as senders:
        list(senders.map(send, *zip(*uploads, strict=True)))
    stopping.set()
    good.join()
    answers["good photo, idle connections"] = send_beside_idle(service, photo)
    answers["good photo after all"] = [service.send(photo) for _ in range(10)]
    memory, log = service.most_memory, service.close()
    for kind, found in answers.items():
        if kind.startswith("good"):
            if wrong := [status for status, _ in found if status != 200]:
                problems.append(f"{kind}: answered {Counter(wrong)}")
        elif wrong := [status for status, _ in found if status not in (200, 413, 415, 422, 429, 503)]:
            problems.append(f"{kind}: answered {Counter(wrong)}")
    slowest = max(seconds for _, seconds in answers["good photo meanwhile"])
    allowed = max(seconds for _, seconds in usual) + SECONDS_MORE
    if slowest > allowed:
        problems.append(f"good photo meanwhile: {slowest:.1f} s, and {allowed:.1f} s are allowed")
    if "Traceback" in log:
        problems.append(f"traceback: {log[-500:]}")
    if memory > MOST_MEMORY:
        problems.append(f"{memory / 2**30:.1f} GiB of memory")
    answers = {"good photo alone": usual, **answers}
    rows = [
        [kind, str(len(found)), describe(found), f"{max(seconds for _, seconds in found):.2f} s"]
        for kind, found in answers.items()
    ]
    middle = statistics.median(seconds for _, seconds in answers["good photo meanwhile"])
    rows.append(["good photo meanwhile, median", "", "", f"{middle:.2f} s"])
    rows.append(["most memory of all processes", "", "", f"{memory / 2**30:.1f} GiB"])
    rows.append(["lines of log", "", "", str(len(log.splitlines()))])
    return rows, problems


NAMES = (
    "photo.jpg",
    "[red]x[/red].jpg",
    "../../etc/passwd",
    "<script>alert(1)</script>.png",
    "x\x1b[31m.jpg",
    "é" * 200,
)


def describe(found: list[tuple[int, float]]) -> str:
    """Return how often each status was given."""
    return ", ".join(f"{number} x {status}" for status, number in sorted(Counter(s for s, _ in found).items()))


def send_beside_idle(service: Service, photo: bytes) -> list[tuple[int, float]]:
    """Send good photos while idle connections are held, half of which dribble a head."""
    host, port = service.address.split(":")
    answers = []
    with ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection((host, int(port)), 30)) for _ in range(IDLE)]
        begin = time.monotonic()
        while time.monotonic() - begin < DRIBBLING_SECONDS:
            for connection in idle[::2]:
                try:
                    connection.send(b"G")
                except OSError:
                    continue  # closed by the service, as it should be
            answers.append(service.send(photo))
    return answers
