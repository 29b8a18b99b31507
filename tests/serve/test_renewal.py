"""A service goes on while others rebuild and calibrate its database."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from progeo.locating.calibration import Calibration, Judge
from progeo.places import rebuilding, storage
from progeo.places.database import PlaceDatabase

from ..places.conftest import make_network
from .conftest import ColourDatabase, choose_colours, connect, fill_database, make_app, make_photo

PHOTO = {"photos": make_photo((200, 30, 30))}


def make_calibration() -> Calibration:
    return Calibration(Judge(["best"], [0.5], [0.1], [-1.0], 0.0), None, 1.0, 30)


def test_rebuilding_and_calibrating_are_noticed_without_a_failure(
    tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "READERS_NOTICE_CHANGES_AFTER", timedelta(seconds=0.1))
    monkeypatch.setattr(rebuilding, "SECONDS_TO_NOTICE", 1.0)
    writer = fill_database(tmp_path / "places", tiny_city)
    rebuilding_thread = threading.Thread(target=writer.rebuild, args=[make_network(seed=1, dimension=24)])
    with PlaceDatabase.open(tmp_path / "places") as served, connect(make_app(served)) as client:
        service = client.app.state.service  # type: ignore[attr-defined]
        rebuilding_thread.start()
        statuses = []
        while rebuilding_thread.is_alive():
            statuses += [client.get(path).status_code for path in ("/api/health", "/api/places", "/metrics")]
            statuses.append(client.post("/api/locate", files=PHOTO).status_code)
        assert set(statuses) == {200}
        assert client.get("/api/health").json()["photos"] == 8
        assert len(client.get("/api/places").json()["features"]) > 0
        answer = client.post("/api/locate", files=PHOTO)
        assert (answer.status_code, answer.json()["photos"][0]["calibrated"]) == (200, False)
        assert service.database.descriptor_dim == 24
        writer.store_calibration(make_calibration())
        time.sleep(0.2)
        assert client.post("/api/locate", files=PHOTO).json()["photos"][0]["calibrated"] is True


def test_photos_that_two_models_may_have_described_are_sent_again() -> None:
    database, other = ColourDatabase(choose_colours(5)), ColourDatabase(choose_colours(5))
    other.fingerprint = "another model"
    with connect(make_app(database)) as client:
        service = client.app.state.service  # type: ignore[attr-defined]
        database.encoder.before_describing = lambda _: setattr(service, "database", other)
        answer = client.post("/api/locate", files=PHOTO)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert "has just got another model. Please send the photos again." in answer.json()["detail"]
        assert client.post("/api/locate", files=PHOTO).status_code == 200
