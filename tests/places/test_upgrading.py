"""Databases of before are read, written and upgraded; and what small additions leave is tidied up."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from progeo import cli
from progeo.locating.prior import METRES_PER_DEGREE, Prior
from progeo.places import cells, storage, thumbnails, tidying
from progeo.places.database import PlaceDatabase

from .conftest import make_network


def make_old(database: PlaceDatabase) -> list[tuple[str, bytes]]:
    """Bring a database to format 2, with thumbnails beside the photos; return them by their ids."""
    tables = database._tables
    pictures = tables.pictures
    assert pictures is not None
    content = {row["id"]: row["thumbnail"] for row in pictures.to_arrow().to_pylist()}
    rows = tables.photos.to_arrow().to_pylist()
    old = tables.photos.schema.remove(tables.photos.schema.get_field_index("cell"))
    old = old.append(pa.field("thumbnail", pa.binary()))
    rows = [row | {"thumbnail": content[row["id"]]} for row in rows]
    tables.connection.create_table("photos_old", pa.Table.from_pylist(rows, schema=old))
    tables.connection.drop_table(thumbnails.TABLE)
    description = storage.read_description(tables.settings, "database")
    assert description is not None
    changed = description | {"format_version": 2, "photos": "photos_old"}
    storage.write_settings(tables.settings, {"database": changed})
    return sorted(content.items())


@pytest.fixture
def old(database: PlaceDatabase, photos: Path) -> tuple[Path, list[tuple[str, bytes]]]:
    few = sorted(photos.iterdir())[:6]
    database.add(few)
    return Path(database.address), make_old(database)


def read_thumbnails(database: PlaceDatabase) -> list[tuple[str, bytes]]:
    return sorted((id, database.thumbnail(id)) for id in database.positions()["id"])


def test_a_database_of_before_is_read_and_written(old: tuple[Path, list[tuple[str, bytes]]], photos: Path) -> None:
    address, expected = old
    with PlaceDatabase.open(address) as database:
        assert read_thumbnails(database) == expected
        assert database.add(sorted(photos.iterdir())).added == 2
        assert len(read_thumbnails(database)) == 8
        assert database.remove(sorted(photos.iterdir())[:1]) == 1


def test_upgrading_moves_thumbnails_and_goes_on_where_it_was_interrupted(
    old: tuple[Path, list[tuple[str, bytes]]],
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address, expected = old
    monkeypatch.setattr(thumbnails, "ROWS_PER_COMMIT", 2)
    store = thumbnails.store
    stored: list[Any] = []

    def stop(table: Any, rows: Any) -> None:
        stored.append(store(table, rows))
        if len(stored) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(thumbnails, "store", stop)
    assert cli.main(["database", "upgrade", str(address)]) == 130
    with PlaceDatabase.open(address) as database:
        assert read_thumbnails(database) == expected
    monkeypatch.setattr(thumbnails, "store", store)
    assert cli.main(["database", "upgrade", str(address)]) == 0
    assert "2 thumbnails moved" in " ".join(capsys.readouterr().err.split())
    with PlaceDatabase.open(address) as database:
        assert read_thumbnails(database) == expected
        assert "thumbnail" not in database._tables.photos.schema.names
        assert "cell" in database._tables.photos.schema.names
        assert database.add(sorted(photos.iterdir())).added == 2
        assert len(read_thumbnails(database)) == 8
    assert cli.main(["database", "upgrade", str(address)]) == 0
    assert "0 thumbnails moved" in " ".join(capsys.readouterr().err.split())


def test_info_says_what_there_is(database: PlaceDatabase, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database.add(photos)
    database.calibrate()
    assert cli.main(["database", "info", database.address]) == 0
    said = capsys.readouterr().out
    assert "8 photos, version" in said and "format 3" in said and "Index: none" in said
    assert "thumbnails: 8 rows," in said and f"fingerprint {database.fingerprint[:16]}" in said
    assert cli.main(["database", "info", database.address, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["photos"] == 8 and content["calibration"]["source"] == "default"
    assert {table["name"] for table in content["tables"]} >= {"thumbnails", "settings"}


def test_small_additions_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidying, "READERS_HURRY_WITHIN", timedelta(milliseconds=100))
    database = PlaceDatabase.create(tmp_path / "places", make_network(dimension=64))
    target = database._tables.target
    generator = np.random.default_rng(0)

    def make_row(number: int) -> dict[str, Any]:
        return {
            **{"path": f"/photos/{number}.jpg", "id": f"{number:032x}", "content_hash": f"{number:064x}"},
            **{"latitude": 45.0, "longitude": 9.0, "thumbnail": generator.bytes(4000)},
            "descriptor": generator.standard_normal(64).astype(np.float16),
        }

    target.commit([make_row(number) for number in range(300)])
    for number in range(300, 600):
        target.commit([make_row(number)])
    size = sum(path.stat().st_size for path in (tmp_path / "places").rglob("*") if path.is_file())
    assert cli.main(["database", "compact", str(tmp_path / "places")]) == 0
    content = sum(table.stats()["total_bytes"] for table in (target.photos, database._tables.pictures))
    model = tidying.measure_folder(database._tables.settings)
    assert len(database) == 600
    assert size < 3 * (content + model)


def test_compacting_removes_thumbnails_of_photos_that_have_changed(
    database: PlaceDatabase, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database.add(photos)
    first, second, *_ = sorted(photos.iterdir())
    first.write_bytes(second.read_bytes())
    database.add(photos)
    pictures = database._tables.pictures
    assert pictures is not None and pictures.count_rows() == 9
    assert cli.main(["database", "compact", database.address]) == 0
    assert "1 thumbnail of photos that are gone removed" in " ".join(capsys.readouterr().err.split())
    assert len(read_thumbnails(database)) == 8


@pytest.mark.parametrize("within", [30.0, 500.0, 20_000.0, 400_000.0, 5e6])
def test_cells_hold_all_that_is_near(within: float) -> None:
    generator = np.random.default_rng(0)
    for near in ((45.0, 9.0), (-33.9, 151.2), (0.001, 179.999), (64.0, -180.0), (88.9, 10.0), (-90.0, 0.0)):
        prior = Prior(near=near, within=within)
        ranges = cells.find_ranges(prior)
        assert len(ranges) <= 2 * cells.MOST_RANGES
        latitude, longitude = np.radians(near)
        turn, away = generator.uniform(0, 2 * np.pi, 300), np.radians(within * generator.uniform(0, 1, 300) ** 0.5)
        away /= METRES_PER_DEGREE
        there = np.arcsin(np.sin(latitude) * np.cos(away) + np.cos(latitude) * np.sin(away) * np.cos(turn))
        east = np.arctan2(
            np.sin(turn) * np.sin(away) * np.cos(latitude), np.cos(away) - np.sin(latitude) * np.sin(there)
        )
        around = (np.degrees(longitude + east) + 180.0) % 360.0 - 180.0
        for point in zip(np.degrees(there), around, strict=True):
            cell = cells.find_cell(*point)
            assert any(first <= cell <= last for first, last in ranges), (near, point)
