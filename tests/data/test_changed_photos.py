"""Photos that change in place: the table says what the files say now."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from progeo.data import table as tables
from progeo.data.table import read_photos

from .photos import write_photo


def read(folder: Path) -> list[tuple[str, float]]:
    table = read_photos(folder, folder.with_name("cache"))
    return [(Path(path).name, round(latitude, 6)) for path, latitude in table.select("path", "latitude").iter_rows()]


def test_position_that_is_corrected_in_place(tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "photos/a.jpg", (59.3293, 18.0686))
    write_photo(tmp_path / "photos/b.jpg", (59.33, 18.0686))
    assert read(photo.parent) == [("a.jpg", 59.3293), ("b.jpg", 59.33)]
    before = photo.stat()
    write_photo(photo, (59.4, 18.0686))
    assert photo.stat().st_size == before.st_size
    os.utime(photo, ns=(before.st_atime_ns, before.st_mtime_ns))  # as exiftool -P leaves it
    assert read(photo.parent) == [("a.jpg", 59.4), ("b.jpg", 59.33)]


def test_photos_that_get_a_position_or_lose_it_come_and_go(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "photos"
    write_photo(folder / "a.jpg", (59.3293, 18.0686))
    write_photo(folder / "b.jpg")
    write_photo(folder / "d/c.jpg", (59.33, 18.0686))
    for _ in range(2):  # the remark is made each time
        caplog.clear()
        assert read(folder) == [("a.jpg", 59.3293), ("c.jpg", 59.33)]
        assert "1 of 3 photos" in caplog.text
        assert "first b.jpg: it holds no GPS position" in caplog.text
    write_photo(folder / "b.jpg", (59.34, 18.0686))
    write_photo(folder / "d/c.jpg")
    assert read(folder) == [("a.jpg", 59.3293), ("b.jpg", 59.34)]
    assert "first d/c.jpg" in caplog.text
    (folder / "a.jpg").unlink()
    (folder / "b.jpg").rename(folder / "e.jpg")
    assert read(folder) == [("e.jpg", 59.34)]


def test_only_what_has_changed_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "photos"
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        write_photo(folder / name, (59.3293, 18.0686))
    (folder / "d.jpg").write_text("no image")
    opened: list[str] = []
    read_exif = tables.read_exif

    def read_some(paths: pl.Series, **rest: Any) -> pl.DataFrame:
        opened.extend(paths)
        return read_exif(paths, **rest)

    monkeypatch.setattr(tables, "read_exif", read_some)
    read(folder)
    opened.clear()
    write_photo(folder / "b.jpg", (59.4, 18.0686))
    write_photo(folder / "e.jpg", (59.4, 18.0686))
    assert len(read(folder)) == 4
    assert opened == ["b.jpg", "d.jpg", "e.jpg"]  # what could not be opened is tried again
