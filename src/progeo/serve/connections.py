"""Connections to the service: how many, how long they may say nothing, and what that writes into the log."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import time
from contextlib import suppress
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 512
"""A browser opens up to six."""
HEAD_SECONDS = 10.0
"""Time for the head of a request, however slowly it comes, and for saying nothing before it."""
MOST_CLOSING = 8
"""Connections that are being closed before the next is accepted: they hold descriptors until the next turn."""
SECONDS_BETWEEN_LINES = 60.0
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b'Content-Length: 44\r\n\r\n{"detail":"Too many requests are in work."}\n'
)
log = logging.getLogger("uvicorn.error")


class Listener(socket.socket):
    """A listening socket that holds at most so many connections.

    Where there is no room, the one that has waited longest for its client to send a request makes room; where all have
    sent one, the new one is refused. So connections that nobody uses keep nobody out.

    Attributes:
        connections: that are open, the longest open first.
        limit: how many may be.
    """

    def __init__(self, fileno: int) -> None:
        """Take over a socket that listens; half of the file descriptors are left to everything else."""
        super().__init__(fileno=fileno)
        self.connections: dict[Connection, None] = {}
        self.limit = max(1, min(MAX_CONNECTIONS, count_descriptors() // 2))
        self._arriving = 0
        self._closing = 0
        self._spare = os.open(os.devnull, os.O_RDONLY)

    def accept(self) -> tuple[socket.socket, Any]:
        """Return a connection for which there is room.

        Raises:
            BlockingIOError: there is none at the moment.
        """
        while True:
            full = len(self.connections) + self._arriving - self._closing >= self.limit
            if self._closing >= MOST_CLOSING or (full and self._arriving):
                raise BlockingIOError  # the next turn of the loop has closed those, and knows these
            try:
                connection, address = super().accept()
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                log.warning("There are no file descriptors left for connections.")
                if not self._make_room():
                    self._refuse_with_spare()
                raise BlockingIOError from error
            if not full or self._make_room():
                self._arriving += 1
                return connection, address
            log.warning("Connections are refused: all %d are in use.", self.limit)
            refuse(connection)

    def take(self, connection: Connection) -> None:
        """Count a connection that was accepted."""
        self._arriving = max(0, self._arriving - 1)
        self.connections[connection] = None

    def drop(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self.connections.pop(connection, None)
        self._closing -= connection.evicted

    def close(self) -> None:
        """Let go of the spare descriptor as well."""
        super().close()
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1

    def _make_room(self) -> bool:
        """Close the connection that can best be done without, and return whether there is one."""
        open_ones = [connection for connection in self.connections if not connection.evicted]
        for may_go in (Connection.is_idle, Connection.is_sending):
            victim = next(filter(may_go, open_ones), None)
            if victim is not None:
                self._closing += 1
                victim.evict()
                log.warning("Idle connections are closed to make room: %d are open.", self.limit)
                return True
        return False

    def _refuse_with_spare(self) -> None:
        """Take one connection with the spare descriptor and close it, or it would be reported again and again."""
        os.close(self._spare)
        try:
            refuse(super().accept()[0])
        except OSError:
            time.sleep(0.01)  # others took it; they will give it back
        self._spare = os.open(os.devnull, os.O_RDONLY)


class Connection(H11Protocol):
    """One connection, which must send the head of a request within ``HEAD_SECONDS``, again and again."""

    def __init__(self, listener: Listener, **settings: Any) -> None:
        """Take the listener that has accepted it, and what uvicorn gives."""
        super().__init__(**settings)
        self.evicted = False
        self._listener = listener
        self._deadline: asyncio.TimerHandle | None = None
        self._unread = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._listener.take(self)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop to wait."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._listener.drop(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what was sent."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        super().on_response_complete()
        self._watch()

    def is_idle(self) -> bool:
        """Tell whether no request is in work."""
        return self.cycle is None or self.cycle.response_complete or self.transport.is_closing()

    def is_sending(self) -> bool:
        """Tell whether a request has not arrived as a whole."""
        return self.conn.their_state is h11.SEND_BODY

    def evict(self) -> None:
        """Close it at once, whatever is still to be sent."""
        self.evicted = True
        self.transport.abort()

    def _watch(self) -> None:
        """Let the clock run exactly while no request is in work."""
        idle = self.is_idle()
        if idle and self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._expire)
        elif not idle and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        """Close the connection, but let a client that reads slowly go on as long as it reads."""
        unread = self.transport.get_write_buffer_size()
        if unread and unread != self._unread:
            self._unread = unread
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._expire)
        else:
            self.transport.abort()


class LimitedRepeats(logging.Filter):
    """Lets a message pass once in ``SECONDS_BETWEEN_LINES``, and says how many were left out; errors always pass."""

    def __init__(self) -> None:
        """Have seen nothing yet."""
        super().__init__()
        self._seen: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is to be written."""
        if record.exc_info:
            return True
        now = time.monotonic()
        since, left_out = self._seen.get(record.msg, (now - SECONDS_BETWEEN_LINES, 0))
        if now - since < SECONDS_BETWEEN_LINES:
            self._seen[record.msg] = (since, left_out + 1)
            return False
        self._seen[record.msg] = (now, 0)
        if left_out:
            record.msg = f"{record.msg} (and {left_out} times since it was last said)"
        return True


def count_descriptors() -> int:
    """Return how many files and connections this process may have open."""
    try:
        import resource
    except ImportError:  # Windows
        return 2 * MAX_CONNECTIONS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2 * MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else soft


def refuse(connection: socket.socket) -> None:
    """Answer 503 and close."""
    with connection:
        connection.setblocking(False)
        with suppress(OSError):  # it has left already
            connection.send(REFUSAL)
