"""When a service says that it is ready, and how it goes over to another version of its database."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvicorn
from fastapi import FastAPI

from progeo.errors import ProgeoError
from progeo.places.database import PlaceDatabase
from progeo.serve import service as service_module
from progeo.serve.server import listen, run_server
from progeo.serve.service import Service

from .conftest import ColourDatabase, choose_colours, connect, fill_database, make_app, make_photo

PHOTO = {"photos": make_photo((200, 30, 30))}


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_ready_once_it_is_warm(database: ColourDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    read, failures = threading.Event(), iter([ProgeoError("The disk is asleep."), PermissionError("python"), None])

    def warm_up() -> None:
        assert read.wait(20)
        if failure := next(failures, None):
            raise failure

    monkeypatch.setattr(database, "warm_up", warm_up)
    monkeypatch.setattr(service_module, "SECONDS_BETWEEN_TRIES", 0.01)
    with connect(make_app(database, cold=True, token="secret")) as client:
        answer = client.get("/api/ready")
        assert (answer.status_code, answer.json()) == (503, {"detail": "The service is warming up."})
        assert answer.headers["Retry-After"] == "1"
        assert client.get("/api/health").status_code == 200
        headers = {"Authorization": "Bearer secret"}
        assert client.post("/api/locate", files=PHOTO, headers=headers).status_code == 200  # slowly, but it answers
        read.set()
        wait(lambda: client.get("/api/ready").status_code == 200)
        assert client.get("/api/ready").json() == {"status": "ready", "database_version": 1}
    with connect(make_app(database)) as client:
        assert client.get("/api/ready").status_code == 200


def test_a_version_is_served_until_the_next_is_warm(
    tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writer = fill_database(tmp_path / "places", tiny_city)
    first, second = sorted(writer.list_paths())[:2]
    old = writer.tag("live")
    writer.remove([first])
    warm = threading.Event()
    monkeypatch.setattr(PlaceDatabase, "warm_up", lambda database: warm.wait(20))
    with PlaceDatabase.open(tmp_path / "places", version="live") as served, connect(make_app(served)) as client:
        service: Service = client.app.state.service  # type: ignore[attr-defined]

        def state() -> tuple[int, int]:
            ready, health = client.get("/api/ready").json(), client.get("/api/health").json()
            return ready["database_version"], health["photos"]

        assert state() == (old, 8)
        new = writer.tag("live")
        assert state() == (old, 8)
        service.follow()
        time.sleep(0.2)
        assert state() == (old, 8)
        assert client.post("/api/locate", files=PHOTO).status_code == 200
        warm.set()
        wait(lambda: state() == (new, 7))
        assert f"progeo_database_version {float(new)}" in client.get("/metrics").text
        assert client.get("/api/places").json()["total"] == 7
        writer.remove([second])
        writer.untag("live")
        service.follow()
        wait(lambda: any("stays at version" in line for line in caplog.messages))
        assert state() == (new, 7)
        assert client.post("/api/locate", files=PHOTO).status_code == 200
    (line,) = [line for line in caplog.messages if "stays at version" in line]
    assert line.startswith(f"The service stays at version {new} of the database: ") and "no version 'live'" in line


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no such signal")
def test_only_a_service_at_a_version_follows_by_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    followed: list[bool] = []
    apps: list[FastAPI] = []

    def run(server: uvicorn.Server, sockets: object) -> None:
        if apps[-1].state.pinned:
            signal.raise_signal(signal.SIGHUP)  # before there is a service
            apps[-1].state.service = SimpleNamespace(follow=lambda: followed.append(True))
            signal.raise_signal(signal.SIGHUP)
        else:
            assert signal.getsignal(signal.SIGHUP) is before

    monkeypatch.setattr(uvicorn.Server, "run", run)
    before = signal.getsignal(signal.SIGHUP)
    for pinned in (False, True):
        database = ColourDatabase(choose_colours(3))
        database.pinned = pinned
        apps.append(make_app(database))
        with listen("127.0.0.1", 0) as listener:
            run_server(apps[-1], listener)
        assert signal.getsignal(signal.SIGHUP) is before
    assert followed == [True]
