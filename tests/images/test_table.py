from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from progeo.errors import ProgeoError
from progeo.images.table import FILE_NAME_FIELDS, parse_file_names, read_image_table

FULL = "@0549100.12@4178022.50@10@S@037.7493@-122.4427@pano7@02@270.25@1.5@-0.5@12@201311@sunny@.jpg"


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_every_field_of_a_full_name() -> None:
    row = parse_file_names(pl.Series("path", [f"a@b/{FULL}"])).row(0, named=True)
    assert row == {
        "path": f"a@b/{FULL}",
        "utm_east": 549100.12,
        "utm_north": 4178022.5,
        "utm_zone": 10,
        "utm_letter": "S",
        "latitude": 37.7493,
        "longitude": -122.4427,
        "pano_id": "pano7",
        "tile": "02",
        "heading": 270.25,
        "pitch": 1.5,
        "roll": -0.5,
        "height": 12.0,
        "timestamp": "201311",
        "note": "sunny",
    }


@pytest.mark.parametrize("name", ["@10.5@20@.jpg", "@10.5@20.JPEG", "@10.5@20@@@@@@@@@@@@@.png", "x@10.5@20@.webp"])
def test_short_names_leave_the_other_fields_empty(name: str) -> None:
    row = parse_file_names(pl.Series("path", [name])).row(0, named=True)
    assert (row["utm_east"], row["utm_north"]) == (10.5, 20.0)
    assert all(row[column] is None for column in FILE_NAME_FIELDS if not column.startswith(("utm_e", "utm_n")))


def test_lists_all_image_formats_below_the_folder_in_order(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    touch(photos, "b/@3@1@.JPG", "a/deep/@2@1@.jpeg", "@1@1@.png", "@4@1@.WebP", "notes.txt", ".hidden/@9@9@.jpg")
    table = read_image_table(photos, cache_folder=tmp_path / "cache")
    assert table["path"].to_list() == sorted(
        str(photos / name) for name in ("@1@1@.png", "@4@1@.WebP", "a/deep/@2@1@.jpeg", "b/@3@1@.JPG")
    )
    assert all(Path(path).is_file() for path in table["path"])


def test_cache_is_used_until_the_folder_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos, cache = tmp_path / "photos", tmp_path / "cache"
    touch(photos, "@1@1@.jpg", "inner/@2@1@.jpg")
    first = read_image_table(photos, cache_folder=cache)
    monkeypatch.setattr("progeo.images.table.parse_file_names", lambda *_: pytest.fail("the cache was not used"))
    assert read_image_table(photos, cache_folder=cache).equals(first)
    monkeypatch.undo()
    touch(photos, "inner/@3@1@.jpg")
    assert len(read_image_table(photos, cache_folder=cache)) == 3


def test_damaged_cache_is_replaced(tmp_path: Path) -> None:
    photos, cache = tmp_path / "photos", tmp_path / "cache"
    touch(photos, "@1@1@.jpg")
    read_image_table(photos, cache_folder=cache)
    (cached,) = cache.iterdir()
    cached.write_bytes(b"not parquet")
    assert len(read_image_table(photos, cache_folder=cache)) == 1
    assert pl.read_parquet(cached).height == 1


def test_cache_of_an_older_format_is_read_anew(tmp_path: Path) -> None:
    photos, cache = tmp_path / "photos", tmp_path / "cache"
    touch(photos, "@1@1@.jpg")
    read_image_table(photos, cache_folder=cache)
    (cached,) = cache.iterdir()
    metadata = pl.read_parquet_metadata(cached)
    older = pl.read_parquet(cached).with_columns(utm_east=pl.lit(7.0))
    older.write_parquet(cached, metadata={"fingerprint": metadata["fingerprint"], "format": metadata["format"]})
    assert read_image_table(photos, cache_folder=cache)["utm_east"].to_list() == [7.0]  # of this format: taken
    for former in ({}, {"format": "1"}):
        older.write_parquet(cached, metadata={"fingerprint": metadata["fingerprint"], **former})
        assert read_image_table(photos, cache_folder=cache)["utm_east"].to_list() == [1.0]


def test_folders_of_the_same_name_have_caches_of_their_own(tmp_path: Path) -> None:
    touch(tmp_path, "a/photos/@1@1@.jpg", "b/photos/@2@1@.jpg")
    for city, east in (("a", 1.0), ("b", 2.0), ("a", 1.0)):
        assert read_image_table(tmp_path / city / "photos", cache_folder=tmp_path / "c")["utm_east"].to_list() == [east]


def test_two_runs_at_once_share_the_cache_safely(tmp_path: Path) -> None:
    touch(tmp_path, *(f"photos/@{k}@1@.jpg" for k in range(300)))
    results: list[int] = []
    threads = [
        threading.Thread(target=lambda: results.append(len(read_image_table(tmp_path / "photos", tmp_path / "cache"))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [300] * 8
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".parquet"]


def test_list_shipped_beside_the_folder_is_read_instead_of_the_disk(tmp_path: Path) -> None:
    touch(tmp_path, "photos/@1@1@.jpg", "photos/@2@1@.jpg")
    (tmp_path / "photos_images_paths.txt").write_text("@2@1@.jpg\n")
    table = read_image_table(tmp_path / "photos", cache_folder=tmp_path / "cache")
    assert table["utm_east"].to_list() == [2.0]
    os.utime(tmp_path / "photos_images_paths.txt", ns=(1, 1))
    (tmp_path / "photos_images_paths.txt").write_text("@1@1@.jpg\n@2@1@.jpg\n")
    assert len(read_image_table(tmp_path / "photos", cache_folder=tmp_path / "cache")) == 2


def test_list_that_appears_or_goes_is_noticed(tmp_path: Path) -> None:
    touch(tmp_path, "photos/@1@1@.jpg", "photos/@2@1@.jpg")
    list_file = tmp_path / "photos_images_paths.txt"

    def read() -> list[float]:
        return read_image_table(tmp_path / "photos", cache_folder=tmp_path / "cache")["utm_east"].to_list()

    assert read() == [1.0, 2.0]
    list_file.write_text("@2@1@.jpg\n")
    assert read() == [2.0]
    list_file.unlink()
    assert read() == [1.0, 2.0]


def test_heading_that_is_no_number_counts_as_missing() -> None:
    table = parse_file_names(pl.Series("path", ["@1@2@@@@@@@nan@.jpg", "@1@2@@@@@@@north@.jpg", "@1@2@@@@@@@30@.jpg"]))
    assert table["heading"].to_list() == [None, None, 30.0]


def test_current_folder_can_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "photos/@1@1@.jpg")
    monkeypatch.chdir(tmp_path / "photos")
    assert len(read_image_table(".", cache_folder=tmp_path / "cache")) == 1


def test_list_of_files_that_are_not_there(tmp_path: Path) -> None:
    touch(tmp_path, "photos/@1@1@.jpg")
    (tmp_path / "photos_images_paths.txt").write_text("elsewhere/@2@1@.jpg\n")
    with pytest.raises(ProgeoError, match=r"photos_images_paths\.txt lists elsewhere.*does not exist"):
        read_image_table(tmp_path / "photos", cache_folder=tmp_path / "cache")


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ProgeoError, match="There is no folder .*nowhere"):
        read_image_table(tmp_path / "nowhere")


def test_folder_without_images(tmp_path: Path) -> None:
    touch(tmp_path, "readme.txt")
    with pytest.raises(ProgeoError, match=r"no images \(.jpg, .jpeg, .png, .webp\) in"):
        read_image_table(tmp_path)


@pytest.mark.parametrize("name", ["IMG_0001.jpg", "@@@.jpg", "@east@north@.jpg", "@10@nan@.jpg"])
def test_name_without_coordinates_is_named_with_the_format(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "@1@1@.jpg", name)
    with pytest.raises(ProgeoError) as error:
        read_image_table(tmp_path, cache_folder=tmp_path / "cache")
    assert "1 of 2 images have no utm_" in str(error.value)
    assert name in str(error.value)
    assert "@utm_east@utm_north@" in str(error.value)


def test_cache_folder_that_cannot_be_written(tmp_path: Path) -> None:
    touch(tmp_path, "photos/@1@1@.jpg")
    (tmp_path / "cache").write_text("a file stands in the way")
    with pytest.raises(ProgeoError, match="Cannot write .*cached image table: --cache_folder"):
        read_image_table(tmp_path / "photos", cache_folder=tmp_path / "cache")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    touch(
        tmp_path / "photos", "@1@1@.jpg", "@2@1@@@@@@@@@@@@caf\u00e9@.jpg", os.fsdecode(b"@3@1@@@@@@@@@@@@caf\xe9@.jpg")
    )
    with pytest.raises(ProgeoError, match=r"1 of 3 paths are not UTF-8, first .*/photos/@3@1@.*caf\\xe9@\.jpg: please"):
        read_image_table(tmp_path / "photos", cache_folder=tmp_path / "cache")
    folder = tmp_path / os.fsdecode(b"\xe9t\xe9")
    touch(folder, "@1@1@.jpg")
    with pytest.raises(ProgeoError, match=r"not UTF-8, first .*/\\xe9t\\xe9: please rename"):
        read_image_table(folder, cache_folder=tmp_path / "cache")


def test_list_that_is_not_utf8(tmp_path: Path) -> None:
    touch(tmp_path, "photos/@1@1@.jpg")
    (tmp_path / "photos_images_paths.txt").write_bytes(b"@1@1@.jpg\n@2@1@\xe9.jpg\n")
    with pytest.raises(ProgeoError, match=r"photos_images_paths\.txt is not UTF-8 \(at byte 15\)"):
        read_image_table(tmp_path / "photos", cache_folder=tmp_path / "cache")


def test_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "photos/@1@1@.jpg", "photos/private/@2@1@.jpg")
    scandir = os.scandir

    def refuse(directory: str) -> Iterator[os.DirEntry[str]]:
        if directory.endswith("private"):
            raise PermissionError(errno.EACCES, "Permission denied", directory)
        return scandir(directory)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ProgeoError, match=r"Cannot list the folder .*/photos/private: Permission denied"):
        read_image_table(tmp_path / "photos", cache_folder=tmp_path / "cache")
