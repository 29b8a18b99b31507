"""Uploaded photos decoded in processes that can be killed: slow ones wait for each other, not others for them.

Each photo starts in the quick lane. Where others wait and it is not done after ``SLICE``, it goes over to the slow
lane, which runs one at a time, at the lowest priority. So slow photos hold up good ones for a moment only.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from threading import Lock
from typing import Any, BinaryIO

import numpy as np

from progeo.console import logger
from progeo.errors import ProgeoError
from progeo.pixels.recipe import Preprocessing
from progeo.plain import show
from progeo.serve.batching import Busy, Pixels
from progeo.serve.decoder import HEAD, KINDS, NUMBER, read_upload
from progeo.serve.guards import current_request

SLICE = 0.5
"""Seconds of the quick lane while others wait; a phone's photo takes a fifth of it."""
SLOW_WAITING = 8
"""Slow photos that wait for their turn; further ones are told to come back."""
# Colours with transparency are held up to five times, in 4 bytes per pixel; the rest is Python and the codecs.
BYTES_PER_PIXEL = 24
BYTES_BESIDES = 2**30
SECONDS_TO_RETRY = 10
LOWEST_PRIORITY = 19
CAN_FORK = hasattr(os, "fork") and hasattr(socket, "send_fds")


class Forker:
    """The process that runs ``progeo.serve.decoder``, of which each photo gets a child; started when it is needed."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def start(self) -> socket.socket:
        """Return the socket to the process, which is started where it does not run."""
        if self._control is not None and self._process is not None and self._process.poll() is None:
            return self._control
        if self._control is not None:
            self._control.close()
        # The same modules as here, and none of the folder that the service was started in.
        code = f"import sys; sys.path[:] = {sys.path!r}; from progeo.serve.decoder import main; main()"
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        self._control, theirs = socket.socketpair()
        with theirs:
            # In a session of its own: it ends with the service, not by the Ctrl-C that asks the service to end.
            self._process = subprocess.Popen(
                [sys.executable, "-c", code], stdin=theirs.fileno(), env=environment, start_new_session=True
            )
        return self._control

    def connect(self) -> socket.socket:
        """Return a connection to a new child."""
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            try:
                socket.send_fds(self.start(), [b"x"], [theirs.fileno()])
            except BrokenPipeError:  # it has been ended from outside
                assert self._process is not None
                self._process.wait()
                socket.send_fds(self.start(), [b"x"], [theirs.fileno()])
        return ours


forker = Forker()
"""Of all services in this process."""


@dataclass(eq=False)
class Lane:
    """Places to run in; where somebody has waited for long, the newest goes first, as the others may be an attack."""

    places: int
    patience: float = SLICE
    _waiting: deque[tuple[float, asyncio.Future[None]]] = field(default_factory=deque)

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._waiting)

    async def enter(self) -> None:
        """Wait for a place."""
        if self.places:
            self.places -= 1
            return
        loop = asyncio.get_running_loop()
        entry = (loop.time(), loop.create_future())
        self._waiting.append(entry)
        try:
            await entry[1]
        except asyncio.CancelledError:
            if entry in self._waiting:
                self._waiting.remove(entry)
            else:
                self.leave()
            raise

    def leave(self) -> None:
        """Give a place to the next."""
        if not self._waiting:
            self.places += 1
            return
        overdue = asyncio.get_running_loop().time() - self._waiting[0][0] > self.patience
        _, future = self._waiting.pop() if overdue else self._waiting.popleft()
        future.set_result(None)


class Child:
    """A process that decodes one photo."""

    def __init__(self, connection: socket.socket) -> None:
        """Take the connection to the process."""
        self._connection = connection
        self._pid: int | None = None
        self._lowest = False

    async def decode(self, content: bytes, note: dict[str, Any]) -> Pixels:
        """Return the pixels (H, W, 3).

        Raises:
            ProgeoError: there are none, and why.
        """
        reader, writer = await asyncio.open_connection(sock=self._connection)
        try:
            (self._pid,) = NUMBER.unpack(await reader.readexactly(NUMBER.size))
            if self._lowest:
                self.lower_priority()
            text = json.dumps(note).encode()
            writer.write(HEAD.pack(len(text), len(content)) + text)
            writer.write(content)
            await writer.drain()
            note_size, size = HEAD.unpack(await reader.readexactly(HEAD.size))
            answer = json.loads(await reader.readexactly(note_size))
            if answer["warnings"]:
                said = "; ".join(map(clean, answer["warnings"]))
                logger.warning("%s, photo %s: %s", current_request.get(), show(note["name"]), said)
            if "error" in answer:
                raise KINDS[answer["error"]](answer["detail"])
            pixels: Pixels = np.frombuffer(await reader.readexactly(size), np.uint8).reshape(answer["shape"])
            self._pid = None
            return pixels
        except (asyncio.IncompleteReadError, OSError) as error:
            raise ProgeoError(
                f"The image {note['name']} cannot be decoded: it may be damaged, or takes too much memory."
            ) from error
        finally:
            self.kill()
            writer.close()

    def lower_priority(self) -> None:
        """Let everything else go first, now or as soon as the process is there."""
        self._lowest = True
        if self._pid is not None:
            with suppress(ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, self._pid, LOWEST_PRIORITY)

    def kill(self) -> None:
        """End the process where it has not answered."""
        if self._pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, 9)
            self._pid = None


class ThreadedChild(Child):
    """A thread in the place of the process, where nothing forks: on Windows. Nobody can end it."""

    def __init__(self) -> None:
        """Take no connection."""
        self._pid, self._lowest = None, False

    async def decode(self, content: bytes, note: dict[str, Any]) -> Pixels:
        """Do as ``Child.decode``."""
        preprocessing = Preprocessing.from_dict(note["preprocessing"])
        arguments = (BytesIO(content), note["name"], preprocessing)
        return await asyncio.to_thread(read_upload, *arguments, max_pixels=note["max_pixels"])


class Decoders:
    """Reads uploaded photos, a number of them at a time, each in a process of its own."""

    def __init__(self, processes: int, *, max_pixels: int, max_seconds: float) -> None:
        """Allow so many processes, and one more for slow photos; each may hold a decoded photo of ``max_pixels``."""
        self._quick, self._slow = Lane(processes), Lane(1)
        max_bytes = BYTES_BESIDES + BYTES_PER_PIXEL * max_pixels
        self._limits = {"max_pixels": max_pixels, "max_bytes": max_bytes, "max_seconds": max_seconds}

    async def read(self, file: BinaryIO, name: str, preprocessing: Preprocessing) -> Pixels:
        """Return the pixels (H, W, 3) that the model wants of a photo; a cancelled call ends its process.

        Raises:
            ProgeoError: as ``read_upload``.
            Busy: the photo is slow to decode, and so are too many before it.
        """
        note = {"name": name, "preprocessing": preprocessing.to_dict(), **self._limits}
        lane: Lane | None = self._quick
        await self._quick.enter()
        try:
            child, decoding = await self._begin(file, note)
            try:
                while not (await asyncio.wait({decoding}, timeout=SLICE))[0]:
                    if lane is self._slow or not self._quick.waiting:
                        continue
                    if self._slow.places:
                        await self._slow.enter()
                        child.lower_priority()
                        self._quick.leave()
                        lane = self._slow
                        continue
                    decoding.cancel()  # to begin again when it is its turn
                    if self._slow.waiting >= SLOW_WAITING:
                        raise Busy(SECONDS_TO_RETRY)
                    self._quick.leave()
                    lane = None
                    await self._slow.enter()
                    lane = self._slow
                    child, decoding = await self._begin(file, note)
                    child.lower_priority()
                return decoding.result()
            finally:
                decoding.cancel()
        finally:
            if lane is not None:
                lane.leave()

    async def _begin(self, file: BinaryIO, note: dict[str, Any]) -> tuple[Child, asyncio.Task[Pixels]]:
        """Start to decode a photo."""
        content = await asyncio.to_thread(read_whole, file)
        child = Child(forker.connect()) if CAN_FORK else ThreadedChild()
        return child, asyncio.create_task(child.decode(content, note))


def clean(text: str) -> str:
    """Return a text as one line without codes that a terminal would obey."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def read_whole(file: BinaryIO) -> bytes:
    """Return the content of a file from its beginning."""
    file.seek(0)
    return file.read()
