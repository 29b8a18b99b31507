"""Versions of a database that are kept under a name, and databases that are opened at one."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from progeo import cli
from progeo.errors import ProgeoError
from progeo.places import storage, tidying
from progeo.places.database import PlaceDatabase

from .conftest import make_network


@pytest.fixture
def database(tmp_path: Path, model_file: Path, photos: Path) -> PlaceDatabase:
    """Eight photos, of which four are added after the first four were kept as ``live``."""
    database = PlaceDatabase.create(tmp_path / "places", model_file)
    database.add(sorted(photos.iterdir())[:4])
    database.tag("live")
    database.add(sorted(photos.iterdir())[4:8])
    return database


def search(database: PlaceDatabase) -> int:
    """How many photos a search finds."""
    (found,) = database.search(np.ones((1, database.descriptor_dim), np.float32), k=100)
    return len(found)


def test_a_version_stays_whatever_comes(database: PlaceDatabase) -> None:
    assert (len(database), database.pinned) == (8, False)
    version = PlaceDatabase.open(database.address, version="live").version
    for pinned in ("live", version):
        with PlaceDatabase.open(database.address, version=pinned) as opened:
            assert (len(opened), search(opened), opened.version, opened.pinned) == (4, 4, version, True)
            assert opened.renew() is opened
            for id in opened.positions()["id"]:
                assert opened.thumbnail(id)[:2] == b"\xff\xd8"


def test_a_name_that_moves_is_followed_on_request(database: PlaceDatabase) -> None:
    with PlaceDatabase.open(database.address, version="live") as opened:
        assert database.tag("live") == database.version
        assert (len(opened), len(opened.renew()), len(opened.renew(anew=True))) == (4, 4, 8)
    with PlaceDatabase.open(database.address, version="live.previous") as before:
        assert len(before) == 4
    database.tag("live")  # nothing has come
    with PlaceDatabase.open(database.address, version="live.previous") as before:
        assert len(before) == 4


def test_tidying_deletes_no_version_that_is_kept(
    database: PlaceDatabase, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tidying, "READERS_HURRY_WITHIN", timedelta(milliseconds=1))
    opened = PlaceDatabase.open(database.address, version="live")
    number = database.version
    for _ in range(2):
        assert cli.main(["database", "compact", database.address]) == 0
    assert (len(opened), search(opened)) == (4, 4)
    with PlaceDatabase.open(database.address, version="live") as again:
        assert search(again) == 4
    with PlaceDatabase.open(database.address, version=number) as later:
        assert search(later) == 8
    assert cli.main(["database", "tag", database.address, "live", "--remove"]) == 0
    assert cli.main(["database", "compact", database.address]) == 0
    capsys.readouterr()
    with pytest.raises(ProgeoError) as error:
        PlaceDatabase.open(database.address, version="live")
    assert "has no version 'live' (any more)" in str(error.value) and "these tags: none" in str(error.value)
    with pytest.raises(ProgeoError, match=f"has no version {number} "):
        PlaceDatabase.open(database.address, version=number)


def test_a_rebuilt_database_keeps_what_has_a_name(database: PlaceDatabase) -> None:
    opened = PlaceDatabase.open(database.address, version="live")
    database.rebuild(make_network(seed=1, dimension=24))
    assert (search(opened), opened.descriptor_dim, database.descriptor_dim) == (4, 16, 24)
    with PlaceDatabase.open(database.address, version="live") as again:
        assert (search(again), again.fingerprint) == (4, opened.fingerprint)
    database.tag("live")
    assert (search(opened), opened.renew(anew=True).descriptor_dim) == (4, 24)
    with PlaceDatabase.open(database.address, version="live.previous") as before:
        assert search(before) == 4
    database.remove([next(database.list_paths())])
    database.tag("live")
    names = database._tables.connection.list_tables().tables
    assert [name for name in names if name.startswith(storage.PHOTOS)] == [database._tables.photos.name]


def test_calibration_and_keypoints_belong_to_a_version(database: PlaceDatabase) -> None:
    database.calibrate()
    with PlaceDatabase.open(database.address, version="live") as opened:
        assert opened.calibration is None
    database.tag("live")
    with PlaceDatabase.open(database.address, version="live") as opened:
        assert opened.calibration is not None


def test_what_is_opened_at_a_version_is_only_read(database: PlaceDatabase, photos: Path) -> None:
    with PlaceDatabase.open(database.address, version="live") as opened:
        for change in (
            lambda: opened.add(photos),
            lambda: opened.remove(["a.jpg"]),
            opened.rebuild,
            opened.calibrate,
            lambda: opened.tag("other"),
            lambda: opened.untag("live"),
        ):
            with pytest.raises(ProgeoError, match="was opened at version 'live', which cannot be changed"):
                change()
        assert (len(opened), search(opened), opened.calibration) == (4, 4, None)


def test_a_folder_that_cannot_be_written_is_read(database: PlaceDatabase, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(database.address, copy)
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    with PlaceDatabase.open(copy, version="live") as opened:
        opened.create_reranker("auto")
        opened.warm_up()
        opened.locate(np.zeros((32, 32, 3), np.uint8))
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


def test_names_that_no_version_can_have(database: PlaceDatabase) -> None:
    for name in ("", "57", "two words", "live.previous", "ä", "-live", "a" * 65):
        with pytest.raises(ProgeoError, match="a name starts with a letter") as error:
            database.tag(name)
        assert repr(name[:80]) in str(error.value)


def test_commands_say_what_is_kept(database: PlaceDatabase, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str, code: int = 0) -> str:
        assert cli.main(["database", *arguments]) == code
        said = capsys.readouterr()
        return " ".join((said.out + said.err).split())

    assert f"version {database.version}, 8 photos, is kept as night" in run("tag", database.address, "night")
    with PlaceDatabase.open(database.address, version="live") as opened:
        kept = f"Kept: live (version {opened.version}), night (version {database.version})"
    assert kept in run("info", database.address)
    tags = json.loads(run("info", database.address, "--json").removesuffix("progeo database info: starting"))["tags"]
    assert set(tags) == {"live", "night"}
    assert "no version is kept as night any more" in run("tag", database.address, "night", "--remove")
    assert "has no version 'night' (any more)" in run("tag", database.address, "night", "--remove", code=2)
    assert "a name starts with a letter" in run("tag", database.address, "1st", code=2)
