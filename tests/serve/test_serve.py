from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi.testclient import TestClient

from progeo import cli
from progeo.places.database import PlaceDatabase
from progeo.serve.server import choose_allowed_hosts, listen

from ..places.conftest import make_network
from .conftest import ColourDatabase, choose_colours, connect, fill_database

HUBCONF = """
import torch


def get_trained_model():
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())
"""


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[ColourDatabase]:
    """The databases that ``progeo serve`` finds wherever it looks; the first is opened."""
    databases = [ColourDatabase(choose_colours(3))]
    monkeypatch.setattr("progeo.cli.serve.open_database", lambda options, **_: databases[0])
    return databases


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["serve", "--database", "photos", *arguments]) == 2
    return " ".join(capsys.readouterr().err.split())


def test_service_runs_until_it_is_interrupted(
    opened: list[ColourDatabase], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = uvicorn.Server.run
    answers: dict[str, Any] = {}

    def run_shortly(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        port = sockets[0].getsockname()[1]
        answers["announced"] = f"http://127.0.0.1:{port} " in capsys.readouterr().err

        async def ask_and_stop() -> None:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
                answers["page"] = (await client.get("/")).status_code
                answers["other host"] = (await client.get("/", headers={"Host": "evil.example"})).status_code
            server.should_exit = True

        server.config.callback_notify = ask_and_stop
        server.config.timeout_notify = 0
        run(server, sockets)
        raise KeyboardInterrupt

    monkeypatch.setattr(uvicorn.Server, "run", run_shortly)
    assert cli.main(["serve", "--database", "photos", "--port", "0"]) == 0
    assert answers == {"announced": True, "page": 200, "other host": 421}
    assert capsys.readouterr().err == "Stopped.\n"


def test_port_that_is_taken(opened: list[ColourDatabase], capsys: pytest.CaptureFixture[str]) -> None:
    with listen("127.0.0.1", 0) as listener:
        port = str(listener.getsockname()[1])
        error = error_of(capsys, "--port", port)
    assert f"Error: Cannot listen on port {port} of 127.0.0.1. Another program uses it; stop that one," in error


def test_host_that_is_not_here(opened: list[ColourDatabase], capsys: pytest.CaptureFixture[str]) -> None:
    assert "This machine has no such address; choose another with --host." in error_of(capsys, "--host", "192.0.2.1")


@pytest.mark.parametrize("token", ["", "two words", "schlüssel", "line\nbreak"])
def test_tokens_that_no_header_can_carry(token: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--token must be letters, digits and signs of ASCII" in error_of(capsys, "--token", token)


@pytest.mark.parametrize(
    "tiles",
    [
        "https://tile.example/{z}/{x}.png",
        "tile.example/{z}/{x}/{y}.png",
        "//tile.example/{z}/{x}/{y}.png",
        "javascript:/{z}/{x}/{y}",
        "https://tile.example; script-src *;/{z}/{x}/{y}.png",
    ],
)
def test_tiles_that_no_map_can_show(tiles: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "{z}, {x}, {y} in it, such as https://tile" in error_of(capsys, "--tiles", tiles)


def test_database_without_photos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with PlaceDatabase.create("photos", make_network()):
        pass
    assert "photos is empty. Add photos with: progeo index" in error_of(capsys, "--port", "0")


def test_database_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert "There is no place database in photos." in error_of(capsys, "--port", "0")


@pytest.mark.parametrize(
    ("host", "token", "warned"), [("0.0.0.0", None, True), ("0.0.0.0", "secret", False), ("127.0.0.1", None, False)]
)
def test_open_service_without_a_token_warns(
    host: str,
    token: str | None,
    warned: bool,
    opened: list[ColourDatabase],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(uvicorn.Server, "run", lambda server, sockets: None)
    assert (
        cli.main(
            ["serve", "--database", "photos", "--port", "0", "--host", host, *(["--token", token] if token else [])]
        )
        == 0
    )
    assert ("everybody who can reach this machine can see these photos" in capsys.readouterr().err) == warned


def test_names_that_a_service_answers_to() -> None:
    def names(host: str, token: str | None = None) -> frozenset[str] | None:
        return choose_allowed_hosts(host, token)

    assert names("127.0.0.1") == names("localhost") == {"localhost", "127.0.0.1", "::1"}
    assert names("127.0.0.2") == {"localhost", "127.0.0.1", "::1", "127.0.0.2"}
    assert names("0.0.0.0") is names("photos.example") is names("127.0.0.1", "secret") is None


def test_options_reach_model_and_threads(
    tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill_database(tmp_path / "places", tiny_city)
    running: list[Any] = []

    def look(app: Any, listener: socket.socket) -> None:
        with TestClient(app):
            service = app.state.service
            encoder = service.database.encoder
            running.append((encoder.batch_size, encoder.num_workers, service._threads._max_workers))
            running.append((service._min_confidence, service._even_unknown, service._limits.max_images))

    monkeypatch.setattr("progeo.serve.server.run_server", look)
    settings = ["--infer_batch_size", "3", "--num_workers", "0", "--device", "cpu", "--port", "0", "--max_images", "2"]
    confidence = ["--min_confidence", "0.7"]
    command = ["serve", "--database", str(tmp_path / "places"), *settings]
    assert cli.main([*command, *confidence]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "--min_confidence 0.7 asks for a probability" in error and "--even_unknown" in error
    with PlaceDatabase.open(tmp_path / "places") as database:
        database.calibrate()
    assert cli.main([*command, *confidence, "--even_unknown"]) == 0
    assert running == [(3, 0, 1), (0.7, True, 2)]


def test_model_of_others_is_served_with_trust_only(
    tmp_path: Path, tiny_city: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clone = tmp_path / "clone"
    clone.mkdir()
    (clone / "hubconf.py").write_text(HUBCONF, encoding="utf-8")
    database = ["--database", str(tmp_path / "places"), "--device", "cpu"]
    trust = ["--trust_remote_code"]
    index = ["index", str(tiny_city / "test/database"), "--model", f"hub:{clone}:get_trained_model", *database]
    assert cli.main([*index, "--cache_folder", str(tmp_path / "cache"), *trust]) == 0
    served = []
    monkeypatch.setattr("progeo.serve.server.run_server", lambda app, listener: served.append(app))
    capsys.readouterr()
    assert cli.main(["serve", *database, "--port", "0"]) == 2
    assert "--trust_remote_code" in capsys.readouterr().err
    assert cli.main(["serve", *database, "--port", "0", *trust]) == 0
    with connect(served[0]) as client:
        photo = min((tiny_city / "test/queries").iterdir()).read_bytes()
        answer = client.post("/api/locate", files={"photos": photo}, headers={"Host": "localhost"})
    assert answer.status_code == 200
    assert len(answer.json()["photos"][0]["matches"]) == 8
