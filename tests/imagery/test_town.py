"""``progeo town``: from a place on earth to a database that can be served, offline but for a local service."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from progeo import cli
from progeo.imagery.area import Box
from progeo.imagery.sources import Mapillary
from progeo.imagery.sources.tiles import list_tiles, read_points
from progeo.places.database import PlaceDatabase

from ..places.conftest import model_file, no_reader_is_waited_for
from .service import Answer, Service, encode, offer, vector_tile
from .test_sources import mapillary_row

__all__ = ["model_file", "no_reader_is_waited_for"]


def run(service: Service, database: Path, *arguments: str, place: str = "59.33,18.07", code: int = 0) -> None:
    settings = ["--address", f"{service.address}/api", "--device", "cpu", "--view_size", "64", "--views", "4"]
    cache = ["--cache_folder", str(database.parent / "cache")]
    assert cli.main(["town", place, "--database", str(database), *settings, *cache, *arguments]) == code


def test_a_town(service: Service, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    offer(service)
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        service.routes[f"/files/{number}/sd.jpg"] = Answer(encode(pixels))
    database = tmp_path / "my_town"
    run(service, database, "--model", str(model_file), "--within", "400")
    said = " ".join(capsys.readouterr().err.split())
    assert "7 photos added" in said and f"Ready: progeo serve --database {database}" in said
    with PlaceDatabase.open(database) as opened:
        assert opened.credits()["photos"].to_list() == [4, 2, 1]
        (estimate,) = opened.locate(tmp_path / "my_town_photos/panoramax/0c0ffee0-0000-4000-8000-000000000001.jpg")
        assert (estimate.latitude, estimate.longitude) == pytest.approx((59.3302, 18.07))
        assert len(estimate.matches) == 4  # three photos and one panorama
    run(service, database)
    said = " ".join(capsys.readouterr().err.split())
    assert "0 pictures downloaded, 4 kept" in said and "0 photos added, 7 kept" in said


def test_a_token_is_told_to_the_service_alone(
    service: Service,
    model_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It stands in no output, log, manifest or database, and neither do the signed addresses of pictures."""
    monkeypatch.setenv("MAPILLARY_TOKEN", "MLY|secret")
    monkeypatch.setattr(Mapillary, "tiles", f"{service.address}/tiles")
    caplog.set_level(logging.DEBUG)
    (column, row), *_ = list_tiles(Box(18.07, 59.33, 18.07, 59.33), 14)
    tile = vector_tile({number: (1500 + 10 * number, 1500) for number in range(9)})
    where = read_points(tile, "image", column, row, 14)
    pictures: dict[str, Any] = {}
    for name, place in where.items():
        address = f"{service.address}/{name}.jpg?signature=secret"
        pictures[name] = {**mapillary_row(int(name) - 1000, *place), "thumb_2048_url": address}
        pixels = np.random.default_rng(int(name)).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        service.routes[f"/{name}.jpg"] = Answer(encode(pixels))
    service.routes["/0.jpg"] = Answer("forbidden: MLY|secret", 403)
    service.routes |= {
        "/images": Answer({"error": {"message": "Please reduce the amount of data", "code": 1}}, 500),
        f"/tiles/14/{column}/{row}": Answer(tile),
        "/": Answer(pictures),
    }
    longitude, latitude = where["4"]
    settings = ["--source", "mapillary", "--address", service.address, "--device", "cpu", "--model", str(model_file)]
    cache = ["--cache_folder", str(tmp_path / "cache"), "--within", "60"]
    place = f"{latitude},{longitude}"
    assert cli.main(["town", place, "--database", str(tmp_path / "my_town"), *settings, *cache]) == 0
    said = "".join(capsys.readouterr()) + caplog.text
    assert "8 pictures downloaded, 0 kept, 1 failed" in " ".join(said.split())
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"manifest.csv", "imagery.html"} <= {path.name for path in files}
    assert [path for path in files if b"secret" in path.read_bytes()] == []
    assert "secret" not in said


def test_a_town_that_is_none(service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(service, tmp_path / "my_town", place="Milano", code=2)
    assert "Milano: please give latitude and longitude" in capsys.readouterr().err
    run(service, tmp_path / "my_town", place="-33.86,151.2", code=2)
    assert "refuses" in capsys.readouterr().err
    assert "-33.86" in service.asked[0][1]["bbox"]
    assert cli.main(["town", "1,2", "--database", "s3://bucket/town"]) == 2
    assert "--database s3://bucket/town: the photos are kept beside" in capsys.readouterr().err
