"""Connections that nobody uses, that dribble, or that are too many for the file descriptors."""

from __future__ import annotations

import logging
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from progeo.serve import connections
from progeo.serve.connections import LimitedRepeats

from .conftest import ColourDatabase, make_app, make_photo, serve

RED = make_photo((200, 30, 30))
HEAD = b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n"


@contextmanager
def connect_idly(address: str, count: int, begin: bytes = b"") -> Iterator[list[socket.socket]]:
    """Open connections, each with the beginning of a request."""
    host, port = address.removeprefix("http://").split(":")
    with ExitStack() as stack:
        opened = []
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=30))
            connection.sendall(begin)
            opened.append(connection)
        yield opened


def is_closed(connection: socket.socket) -> bool:
    """Wait for the other side to close."""
    try:
        return connection.recv(1000) == b""
    except ConnectionResetError:
        return True


def test_idle_connections_keep_nobody_out(database: ColourDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 20)
    with serve(make_app(database)) as address:
        body = b"POST /api/locate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx"
        with connect_idly(address, 15), connect_idly(address, 30, HEAD), connect_idly(address, 30, body):
            assert httpx.post(f"{address}/api/locate", files={"photos": RED}, timeout=30).status_code == 200


def test_the_head_of_a_request_must_come_in_time(database: ColourDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    with serve(make_app(database)) as address, connect_idly(address, 3) as (silent, dribbling, again):
        again.sendall(HEAD + b"\r\n")
        assert again.recv(1000).startswith(b"HTTP/1.1 200")
        start = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - start < 20:
                for connection in (dribbling, again):
                    connection.sendall(b"X")
                time.sleep(0.1)
        assert is_closed(silent)


def test_a_body_that_follows_its_answer_ends_in_time(database: ColourDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    head = b"POST /api/locate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n"
    with serve(make_app(database)) as address, connect_idly(address, 1, head) as (connection,):
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")
        start = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - start < 20:
                connection.sendall(b"X")
                time.sleep(0.1)


def test_a_request_that_takes_long_keeps_its_connection(
    database: ColourDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    database.encoder.before_describing = lambda images: time.sleep(1)
    with serve(make_app(database)) as address:
        assert httpx.post(f"{address}/api/locate", files={"photos": RED}, timeout=30).status_code == 200


SERVICE = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))
from tests.serve.conftest import ColourDatabase, choose_colours, make_app
from progeo.serve.server import listen, run_server
with listen("127.0.0.1", 0) as listener:
    print(listener.getsockname()[1], flush=True)
    run_server(make_app(ColourDatabase(choose_colours(5))), listener)
"""


def test_few_file_descriptors_are_enough(tmp_path: Path) -> None:
    """More idle connections than descriptors, and again and again: good requests are answered, and the log is short."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path.cwd())])}
    log = tmp_path / "log.txt"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVICE], stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment
        )
        assert process.stdout is not None
        try:
            address = f"http://127.0.0.1:{process.stdout.readline().strip()}"
            for _ in range(2):
                with connect_idly(address, 150, HEAD):
                    for _ in range(3):
                        answer = httpx.post(f"{address}/api/locate", files={"photos": RED}, timeout=60)
                        assert answer.status_code == 200, log.read_text()
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()
    lines = log.read_text().splitlines()
    assert 1 <= len(lines) <= 3, lines
    assert "Idle connections are closed to make room: 40 are open." in lines[0]


def test_messages_that_repeat_are_counted_instead(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("test of repeats")
    logger.addFilter(LimitedRepeats())
    for number in range(100):
        logger.warning("Refused %d.", number)
    logger.error("Failed.", exc_info=ValueError("x"))
    logger.error("Failed.", exc_info=ValueError("y"))
    monkeypatch.setattr(connections, "SECONDS_BETWEEN_LINES", 0.0)
    logger.warning("Refused %d.", 100)
    assert [record.getMessage() for record in caplog.records] == [
        "Refused 0.",
        "Failed.",
        "Failed.",
        "Refused 100. (and 99 times since it was last said)",
    ]


def test_the_limit_leaves_descriptors_for_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (64, 64))
    with socket.create_server(("127.0.0.1", 0)) as plain, connections.Listener(plain.detach()) as listener:
        assert listener.limit == 32
