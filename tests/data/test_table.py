from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from progeo.data.file_names import FILE_NAME_FIELDS
from progeo.data.table import read_photos
from progeo.errors import ProgeoError

from .photos import BASE, GPS, write_photo


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_lists_all_image_formats_below_the_folder_in_order(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    touch(photos, "b/@3@1@.JPG", "a/deep/@2@1@.jpeg", "@1@1@.png", "@4@1@.WebP", "@5@1@.heic")
    touch(photos, "notes.txt", ".hidden/@9@9@.jpg")
    table = read_photos(photos, cache_folder=tmp_path / "cache")
    assert table["path"].to_list() == sorted(
        str(photos / name) for name in ("@1@1@.png", "@4@1@.WebP", "@5@1@.heic", "a/deep/@2@1@.jpeg", "b/@3@1@.JPG")
    )
    assert all(Path(path).is_file() for path in table["path"])


def test_folders_that_are_called_like_photos(tmp_path: Path) -> None:
    touch(tmp_path / "photos", "@1@1@.jpg", "panorama.jpg/@2@1@.jpg", "@eaDir/@1@1@.jpg/SYNOPHOTO_THUMB_M.jpg")
    table = read_photos(tmp_path / "photos", tmp_path / "cache")
    assert table["utm_east"].to_list() == [1.0, 2.0]
    touch(tmp_path / "photos", "panorama.jpg/@3@1@.jpg")
    assert len(read_photos(tmp_path / "photos", tmp_path / "cache")) == 3


def test_files_that_are_not_read_are_counted_each_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path / "photos", "@1@1@.tif", "@2@1@.AVIF", "@3@1@.jfif", "@4@1@.jpe", "@5@1@.bmp", "notes.txt", "a.mp4")
    touch(tmp_path / "photos", "c/@6@1@.DNG", "@7@1@.dng", "@8@1@.gif", "list")
    for _ in range(2):
        caplog.clear()
        assert len(read_photos(tmp_path / "photos", tmp_path / "cache")) == 5
        assert "no photos of a known kind: 2 .dng, 1 .gif, 1 list in " in caplog.text
    (tmp_path / "photos/@1@1@.tif").unlink()
    for rest in "@2@1@.AVIF", "@3@1@.jfif", "@4@1@.jpe", "@5@1@.bmp":
        (tmp_path / "photos" / rest).unlink()
    with pytest.raises(ProgeoError, match=r"There are no images .* known kind: 2 \.dng"):
        read_photos(tmp_path / "photos", tmp_path / "cache")


def test_cache_is_used_until_the_folder_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos, cache = tmp_path / "photos", tmp_path / "cache"
    touch(photos, "@1@1@.jpg", "inner/@2@1@.jpg")
    first = read_photos(photos, cache_folder=cache)
    monkeypatch.setattr("progeo.data.table.parse_file_names", lambda *_: pytest.fail("the cache was not used"))
    assert read_photos(photos, cache_folder=cache).equals(first)
    monkeypatch.undo()
    touch(photos, "inner/@3@1@.jpg")
    assert len(read_photos(photos, cache_folder=cache)) == 3


def test_damaged_cache_is_replaced(tmp_path: Path) -> None:
    photos, cache = tmp_path / "photos", tmp_path / "cache"
    touch(photos, "@1@1@.jpg")
    read_photos(photos, cache_folder=cache)
    (cached,) = cache.iterdir()
    cached.write_bytes(b"not parquet")
    assert len(read_photos(photos, cache_folder=cache)) == 1
    assert pl.read_parquet(cached).height == 1


def test_cache_of_an_older_format_is_read_anew(tmp_path: Path) -> None:
    photos, cache = tmp_path / "photos", tmp_path / "cache"
    touch(photos, "@1@1@.jpg")
    read_photos(photos, cache_folder=cache)
    (cached,) = cache.iterdir()
    metadata = pl.read_parquet_metadata(cached)
    older = pl.read_parquet(cached).with_columns(utm_east=pl.lit(7.0))
    older.write_parquet(cached, metadata={"fingerprint": metadata["fingerprint"], "format": metadata["format"]})
    assert read_photos(photos, cache_folder=cache)["utm_east"].to_list() == [7.0]  # of this format: taken
    for former in ({}, {"format": "1"}):
        older.write_parquet(cached, metadata={"fingerprint": metadata["fingerprint"], **former})
        assert read_photos(photos, cache_folder=cache)["utm_east"].to_list() == [1.0]


def test_folders_of_the_same_name_have_caches_of_their_own(tmp_path: Path) -> None:
    touch(tmp_path, "a/photos/@1@1@.jpg", "b/photos/@2@1@.jpg")
    for city, east in (("a", 1.0), ("b", 2.0), ("a", 1.0)):
        assert read_photos(tmp_path / city / "photos", cache_folder=tmp_path / "c")["utm_east"].to_list() == [east]


def test_two_runs_at_once_share_the_cache_safely(tmp_path: Path) -> None:
    touch(tmp_path, *(f"photos/@{k}@1@.jpg" for k in range(300)))
    results: list[int] = []
    threads = [
        threading.Thread(target=lambda: results.append(len(read_photos(tmp_path / "photos", tmp_path / "cache"))))
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
    table = read_photos(tmp_path / "photos", cache_folder=tmp_path / "cache")
    assert table["utm_east"].to_list() == [2.0]
    os.utime(tmp_path / "photos_images_paths.txt", ns=(1, 1))
    (tmp_path / "photos_images_paths.txt").write_text("@1@1@.jpg\n@2@1@.jpg\n")
    assert len(read_photos(tmp_path / "photos", cache_folder=tmp_path / "cache")) == 2


def test_list_that_appears_or_goes_is_noticed(tmp_path: Path) -> None:
    touch(tmp_path, "photos/@1@1@.jpg", "photos/@2@1@.jpg")
    list_file = tmp_path / "photos_images_paths.txt"

    def read() -> list[float]:
        return read_photos(tmp_path / "photos", cache_folder=tmp_path / "cache")["utm_east"].to_list()

    assert read() == [1.0, 2.0]
    list_file.write_text("@2@1@.jpg\n")
    assert read() == [2.0]
    list_file.unlink()
    assert read() == [1.0, 2.0]


def test_current_folder_can_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "photos/@1@1@.jpg")
    monkeypatch.chdir(tmp_path / "photos")
    assert len(read_photos(".", cache_folder=tmp_path / "cache")) == 1


def test_list_of_files_that_are_not_there(tmp_path: Path) -> None:
    touch(tmp_path, "photos/@1@1@.jpg")
    (tmp_path / "photos_images_paths.txt").write_text("elsewhere/@2@1@.jpg\n")
    with pytest.raises(ProgeoError, match=r"photos_images_paths\.txt lists elsewhere.*does not exist"):
        read_photos(tmp_path / "photos", cache_folder=tmp_path / "cache")


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ProgeoError, match="There is no folder .*nowhere"):
        read_photos(tmp_path / "nowhere")


def test_folder_without_images(tmp_path: Path) -> None:
    touch(tmp_path, "readme.txt")
    with pytest.raises(ProgeoError, match=r"no images \(.jpg, .jpeg, .*, .heic, .heif, .hif\) in"):
        read_photos(tmp_path)


@pytest.mark.parametrize("name", ["IMG_0001.jpg", "@@@.jpg", "@east@north@.jpg", "@10@nan@.jpg"])
def test_name_without_coordinates_is_named_with_the_format(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "@1@1@.jpg", name)
    with pytest.raises(ProgeoError) as error:
        read_photos(tmp_path, cache_folder=tmp_path / "cache")
    assert "1 of 2 images without utm_" in str(error.value)
    assert name in str(error.value)
    assert "@utm_east@utm_north@" in str(error.value)


def test_cache_folder_that_cannot_be_written(tmp_path: Path) -> None:
    touch(tmp_path, "photos/@1@1@.jpg")
    (tmp_path / "cache").write_text("a file stands in the way")
    with pytest.raises(ProgeoError, match="Cannot write .*cached image table: `cache_folder`"):
        read_photos(tmp_path / "photos", cache_folder=tmp_path / "cache")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    touch(
        tmp_path / "photos", "@1@1@.jpg", "@2@1@@@@@@@@@@@@caf\u00e9@.jpg", os.fsdecode(b"@3@1@@@@@@@@@@@@caf\xe9@.jpg")
    )
    with pytest.raises(ProgeoError, match=r"1 of 3 paths not in UTF-8, first .*/photos/@3@1@.*caf\\xe9@\.jpg: please"):
        read_photos(tmp_path / "photos", cache_folder=tmp_path / "cache")
    folder = tmp_path / os.fsdecode(b"\xe9t\xe9")
    touch(folder, "@1@1@.jpg")
    with pytest.raises(ProgeoError, match=r"not in UTF-8, first .*/\\xe9t\\xe9: please rename"):
        read_photos(folder, cache_folder=tmp_path / "cache")


def test_list_that_is_not_utf8(tmp_path: Path) -> None:
    touch(tmp_path, "photos/@1@1@.jpg")
    (tmp_path / "photos_images_paths.txt").write_bytes(b"@1@1@.jpg\n@2@1@\xe9.jpg\n")
    with pytest.raises(ProgeoError, match=r"photos_images_paths\.txt is not UTF-8 \(at byte 15\)"):
        read_photos(tmp_path / "photos", cache_folder=tmp_path / "cache")


def test_list_with_signs_that_no_path_has(tmp_path: Path) -> None:
    touch(tmp_path, "photos/@1@1@.jpg")
    (tmp_path / "photos_images_paths.txt").write_text("@1@1@.jpg\n@2@1@.jpg\x1fmore\n")
    with pytest.raises(ProgeoError, match=r"photos_images_paths\.txt cannot be read as paths, one on each line"):
        read_photos(tmp_path / "photos", cache_folder=tmp_path / "cache")


def test_list_with_quotes_blank_lines_and_line_ends_of_windows(tmp_path: Path) -> None:
    names = ['"@2@1@.jpg', "@1@1@.jpg"]
    touch(tmp_path, *(f"[photos]/{name}" for name in names))
    (tmp_path / "[photos]_images_paths.txt").write_bytes("\r\n\r\n \n".join(names).encode())
    table = read_photos(tmp_path / "[photos]", cache_folder=tmp_path / "cache")
    assert table["path"].to_list() == [str(tmp_path / "[photos]" / name) for name in names]


def test_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "photos/@1@1@.jpg", "photos/private/@2@1@.jpg")
    scandir = os.scandir

    def refuse(directory: str) -> Iterator[os.DirEntry[str]]:
        if directory.endswith("private"):
            raise PermissionError(errno.EACCES, "Permission denied", directory)
        return scandir(directory)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ProgeoError, match=r"Cannot list the folder .*/photos/private: Permission denied"):
        read_photos(tmp_path / "photos", cache_folder=tmp_path / "cache")


def test_names_are_completed(tmp_path: Path) -> None:
    touch(tmp_path, "photos/@0500000.00@5500000.00@33@U@@@@@@@@@201311@@.jpg", "photos/@1@1@.jpg")
    table = read_photos(tmp_path / "photos", cache_folder=tmp_path / "cache")
    assert table.columns == ["path", *FILE_NAME_FIELDS]
    assert table["latitude"].to_list() == pytest.approx([49.6525, None], abs=0.0001)
    assert table["timestamp"].to_list() == ["2013-11", None]


def test_folder_of_photos_with_exif(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    photos = tmp_path / "photos"
    write_photo(photos / "a.jpg", (59.3293, 18.0686), heading=90, time="2023:04:06 10:19:05")
    write_photo(photos / "b.jpg", (59.3294, 18.0686), heading=45, gps={GPS.GPSImgDirectionRef: "M"})
    write_photo(photos / "c.jpg", time="4/6/2023 10:19")
    for _ in ("read", "cached"):
        table = read_photos(photos, cache_folder=tmp_path / "cache")
        assert table.columns == ["path", *FILE_NAME_FIELDS, "heading_reference"]
        assert table["path"].to_list() == [str(photos / "a.jpg"), str(photos / "b.jpg")]
        assert table["utm_north"][1] - table["utm_north"][0] == pytest.approx(11.1, abs=0.1)
        assert table.select("utm_zone", "utm_letter", "heading", "timestamp").row(0) == (
            34,
            "V",
            90,
            "2023-04-06T10:19:05",
        )
    assert "1 of 3 photos in" in caplog.text
    assert "without a position, first c.jpg: it holds no GPS position" in caplog.text
    assert "1 of 3 photos in" in caplog.text
    assert "with a time that is not understood, first c.jpg: '4/6/2023 10:19'" in caplog.text
    assert "1 heading in" in caplog.text
    assert "against magnetic north" in caplog.text


def test_no_coordinates_anywhere_says_what_was_looked_for(tmp_path: Path) -> None:
    write_photo(tmp_path / "photos/IMG_1.jpg", details={BASE.OffsetTimeOriginal: "+01:00"})
    with pytest.raises(ProgeoError) as error:
        read_photos(tmp_path / "photos", cache_folder=tmp_path / "cache")
    for part in (
        "There are no coordinates anywhere in",
        "a manifest in it (manifest.csv, manifest.parquet, manifest.geojson)",
        "SF-XL file names (file names must look like @utm_east@utm_north@",
        "EXIF GPS positions in its 1 image (first IMG_1.jpg: it holds no GPS position)",
    ):
        assert part in str(error.value)


def write_manifest(folder: Path, text: str) -> Path:
    touch(folder, "a.jpg", "b.jpg", "c.jpg")
    (folder / "manifest.csv").write_text(text)
    return folder / "manifest.csv"


MANIFEST = "file,Y,lon,split,time\na.jpg,59.3,18,train,20230406 101905\nb.jpg,59.3,18.0001,train,20230406 101906\n"


def test_manifest_in_place_of_a_folder_and_in_it(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, MANIFEST)
    table = read_photos(manifest, columns="lat=Y", split="train")
    assert table.columns == ["path", *FILE_NAME_FIELDS, "split"]
    assert table["timestamp"].to_list() == ["2023-04-06T10:19:05", "2023-04-06T10:19:06"]
    assert table["utm_zone"].to_list() == [34, 34]
    assert read_photos(tmp_path, columns="lat=Y").equals(table)


def test_headings_from_the_track(tmp_path: Path) -> None:
    table = read_photos(write_manifest(tmp_path, MANIFEST), columns="lat=Y", heading_from="track")
    assert table["heading"].to_list() == pytest.approx([90, 90], abs=3)
    with pytest.raises(ProgeoError, match="`heading_from` compass: it must be track"):
        read_photos(tmp_path, columns="lat=Y", heading_from="compass")


def test_photos_of_several_continents(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, "file,lat,lon\na.jpg,59.3,18\nb.jpg,-33.9,151.2\nc.jpg,37.7,-122.4\n")
    with pytest.raises(ProgeoError, match="span more than two neighbouring UTM zones"):
        read_photos(manifest)
    assert read_photos(manifest, one_plane=False)["utm_zone"].to_list() == [34, 56, 10]


def test_empty_split(tmp_path: Path) -> None:
    with pytest.raises(ProgeoError, match=r"manifest\.csv has no rows of the split val; its splits are train \(2\)"):
        read_photos(write_manifest(tmp_path, MANIFEST), columns="lat=Y", split="val")


def test_split_and_role_from_folders(tmp_path: Path) -> None:
    names = ("train/@1@1@.jpg", "val/database/@1@1@.jpg", "val/queries_v1/@1@1@.jpg")
    touch(tmp_path / "photos", *names)
    table = read_photos(tmp_path / "photos", cache_folder=tmp_path / "cache")
    assert table.select("split", "role").rows() == [("train", None), ("val", "database"), ("val", "queries_v1")]
    assert "role" not in read_photos(tmp_path / "photos/val/database", cache_folder=tmp_path / "cache").columns
