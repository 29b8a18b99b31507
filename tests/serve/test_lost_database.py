"""A database that is damaged, deleted, and back or made anew, while it is served."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from progeo.places import storage
from progeo.places.database import PlaceDatabase
from progeo.serve import service

from ..places.conftest import make_network
from .conftest import connect, fill_database, make_app, make_photo

PHOTO = {"photos": make_photo((200, 30, 30))}
LOST = (503, {"detail": "The database cannot be read at the moment; the log of the service says why."})


@pytest.fixture
def places(tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(storage, "READERS_NOTICE_CHANGES_AFTER", timedelta(0))
    monkeypatch.setattr(service, "SECONDS_BETWEEN_TRIES", 0.0)
    fill_database(tmp_path / "places", tiny_city)
    shutil.copytree(tmp_path / "places", tmp_path / "copy")
    return tmp_path / "places"


@pytest.fixture
def client(places: Path) -> Iterator[TestClient]:
    with PlaceDatabase.open(places) as database, connect(make_app(database)) as client:
        yield client


def ask_all(client: TestClient, id: str) -> list[tuple[int, object]]:
    answers = [client.get(path) for path in ("/api/health", "/api/places", f"/api/photos/{id}", "/metrics")]
    answers.append(client.post("/api/locate", files=PHOTO))
    return [(answer.status_code, answer.json() if answer.status_code != 200 else None) for answer in answers]


def test_deleted_and_back(
    client: TestClient, places: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    id = client.post("/api/locate", files=PHOTO).json()["photos"][0]["matches"][0]["id"]
    for _ in range(2):
        shutil.rmtree(places)
        for _ in range(3):
            assert ask_all(client, id) == [LOST] * 5
        shutil.copytree(places.parent / "copy", places)
        assert ask_all(client, id) == [(200, None)] * 5
    lines = [line for line in caplog.messages if line.startswith("The service ")]
    # That there are too few photos for re-ranking was said at the start, and is not said with each database.
    assert "order of their descriptors" in "".join(record.getMessage() for record in caplog.get_records("setup"))
    assert not any("order of their descriptors" in line for line in caplog.messages)
    assert len(lines) == 4, lines
    assert lines[0].startswith("The service cannot open the database: Cannot read the place database ")
    assert ".rs:" not in lines[0] and "\n" not in lines[0]
    assert lines[1] == "The service can open the database again."
    assert "Traceback" not in capfd.readouterr().err


def test_another_made_in_its_place(client: TestClient, places: Path, tiny_city: Path) -> None:
    shutil.rmtree(places)
    assert client.get("/api/places").status_code == 503
    fill_database(places, tiny_city)
    assert client.post("/api/locate", files=PHOTO).status_code == 200
    assert client.get("/api/places").json()["total"] == 8


@pytest.mark.parametrize("cut", ["delete", "zeros"])
def test_damaged_photos_table(cut: str, client: TestClient, places: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = [*places.glob("photos_*.lance/data/*.lance")]
    for file in files:
        if cut == "delete":
            file.unlink()
        else:
            file.write_bytes(bytes(file.stat().st_size))
    for _ in range(3):
        answer = client.post("/api/locate", files=PHOTO)
        assert (answer.status_code, answer.json()) == LOST
        assert answer.headers["retry-after"] == "5"
    lines = [record.getMessage() for record in caplog.records if record.name == "progeo"]
    assert len(lines) == len(set(lines)) <= 2
    shutil.rmtree(places)
    shutil.copytree(places.parent / "copy", places)
    assert client.post("/api/locate", files=PHOTO).status_code == 200


def test_a_rebuilt_database_of_another_model_is_found_after_it_was_lost(
    client: TestClient, places: Path, tiny_city: Path
) -> None:
    from progeo.data.table import read_photos

    shutil.rmtree(places)
    assert client.get("/api/health").status_code == 503
    with PlaceDatabase.create(places, make_network(seed=1, dimension=24)) as database:
        database.add(read_photos(tiny_city / "test/database", None))
    assert client.post("/api/locate", files=PHOTO).status_code == 200
    assert client.app.state.service.database.descriptor_dim == 24  # type: ignore[attr-defined]
