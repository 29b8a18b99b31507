"""Running a service: the port, who may call it by which name, and the signal to follow the database."""

from __future__ import annotations

import errno
import ipaddress
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING

import uvicorn

from progeo.errors import ProgeoError
from progeo.serve.connections import Connection, LimitedRepeats, Listener, log

if TYPE_CHECKING:
    from fastapi import FastAPI

SECONDS_TO_FINISH = 5
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def run_server(app: FastAPI, listener: Listener) -> None:
    """Answer on a socket that listens, until interrupted.

    SIGHUP lets a service that stays at a version of its database follow the tag.
    """
    config = uvicorn.Config(
        app,
        log_config=None,  # uvicorn's own would close the handlers of all other loggers
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=SECONDS_TO_FINISH,
        # The listener counts what this loop accepts, for connections of this class.
        loop="asyncio",
        http=partial(Connection, listener),  # type: ignore[arg-type]
        ws="none",
    )
    repeats = LimitedRepeats()
    log.addFilter(repeats)
    try:
        # uvicorn repeats the Ctrl-C that ended it
        with suppress(KeyboardInterrupt), following(app) if app.state.pinned else nullcontext():
            uvicorn.Server(config).run(sockets=[listener])
    finally:
        log.removeFilter(repeats)


@contextmanager
def following(app: FastAPI) -> Iterator[None]:
    """Let the service follow its database on SIGHUP, as long as the block lasts; Windows has no such signal."""
    if not hasattr(signal, "SIGHUP"):
        yield
        return

    def follow(*_: object) -> None:
        if hasattr(app.state, "service"):  # otherwise it has only just read what the tag stands for
            app.state.service.follow()

    before = signal.signal(signal.SIGHUP, follow)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def listen(host: str, port: int) -> Listener:
    """Return a socket that listens, before anything slow is begun.

    Raises:
        ProgeoError: the port is taken or not allowed, or the host is none of this machine's.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return Listener(socket.create_server(address[:2], family=family).detach())
    except OSError as error:
        advice = {
            errno.EADDRINUSE: "Another program uses it; stop that one, or choose another with `port`.",
            errno.EACCES: "Ports below 1024 take special rights; choose another with `port`.",
            errno.EADDRNOTAVAIL: "This machine has no such address; choose another with `host`.",
        }.get(error.errno or 0, f"{error.strerror or error}; check `host` and `port`.")
        raise ProgeoError(f"Cannot listen on port {port} of {host}. {advice}") from error


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach the host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def choose_allowed_hosts(host: str, token: str | None) -> frozenset[str] | None:
    """Return the names a service for this machine alone answers to; with a token, or in a network, any will do."""
    return LOOPBACK_NAMES | {host} if is_loopback(host) and token is None else None
