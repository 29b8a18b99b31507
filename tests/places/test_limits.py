"""A disk that fills up while a database is calibrated or added to, and a clock that jumps back a day."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from progeo import cli
from progeo.errors import ProgeoError
from progeo.places.database import PlaceDatabase

from ..limits import full_disk, needs_mount

DAY = 86_400
ReadPhotos = Callable[[Path], pl.DataFrame]


def read_all(folder: Path) -> tuple[object, str]:
    with PlaceDatabase.open(folder) as database:
        rows = database.positions().sort("id").rows()
        return rows, json.dumps(database.calibration and database.calibration.to_dict(), sort_keys=True)


@needs_mount
def test_a_full_disk(
    filled: Path, tiny_city: Path, tmp_path: Path, read_photos: Callable[[Path], pl.DataFrame]
) -> None:
    """Nothing that was there is lost, and what failed is done once there is room."""
    with full_disk(tmp_path / "disk", 4000) as fill:
        place = Path(shutil.copytree(filled, tmp_path / "disk/places"))
        with PlaceDatabase.open(place) as database:
            calibration = database.calibrate()
            before = read_all(place)
            fill(leave=0)
            with pytest.raises(ProgeoError, match=r"the disk is full\. Free.*stored before is kept"):
                database.store_calibration(calibration)
            with pytest.raises(ProgeoError, match=r"the disk is full|No space left"):
                database.add(read_photos(tiny_city / "test/queries"))
        assert read_all(place) == before
        (tmp_path / "disk/ballast").unlink()
        with PlaceDatabase.open(place) as database:
            database.store_calibration(calibration)
            database.add(read_photos(tiny_city / "test/queries"))
        rows, kept = read_all(place)
        assert len(rows) == 16 and kept != "null"  # type: ignore[arg-type]


def test_a_clock_that_jumps_back(
    photos: Path, database: PlaceDatabase, tiny_city: Path, tmp_path: Path, read_photos: ReadPhotos
) -> None:
    """All that was written before is of tomorrow then: files of the database and of the cache, and photos."""
    database.add(read_photos(photos))
    for path in [*tmp_path.rglob("*")]:
        status = path.stat()
        os.utime(path, (status.st_atime + DAY, status.st_mtime + DAY))
    shutil.copytree(tiny_city / "test/queries", photos, dirs_exist_ok=True)  # in place of those with the same names
    for name in ("70", "71"):
        shutil.copy(sorted(photos.iterdir())[0], photos / f"@500{name}5@4000005@31@S@@@new@@0@@@@@@.jpg")
    with PlaceDatabase.open(tmp_path / "places") as opened:
        opened.add(read_photos(photos))
    assert cli.main(["database", "compact", str(tmp_path / "places")]) == 0
    with PlaceDatabase.open(tmp_path / "places") as opened:
        assert sorted(opened.list_paths()) == sorted(map(str, photos.iterdir()))
        paths = opened.search(np.ones((1, 16), np.float32), k=20)[0]["path"]
        assert len(paths) == len({*paths}) == 10
        # A photo that was replaced is described anew, though its file is older than the one before.
        descriptors = opened.encoder.encode(sorted(map(str, photos.iterdir())))
        found = opened.search(descriptors, k=1)
        assert all(float(of_photo["descriptor_distance"][0]) < 1e-2 for of_photo in found)
