from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from progeo.data.exif import EXIF_COLUMNS, read_exif
from progeo.data.table import read_photos
from progeo.pixels import decoding

from .photos import BASE, GPS, sign_latitude, write_photo


def read_one(path: Path) -> dict[str, Any]:
    return read_exif(pl.Series([path.name]), str(path.parent)).row(0, named=True)


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "heic"])
def test_position_heading_and_time(tmp_path: Path, extension: str) -> None:
    if extension == "heic":
        pytest.importorskip("pillow_heif")
        assert decoding.can_open_heic()
    details = {BASE.SubsecTimeOriginal: "25", BASE.OffsetTimeOriginal: "+10:00"}
    photo = write_photo(
        tmp_path / f"photo.{extension}",
        (-33.856784, 151.215297),
        heading=12.34,
        time="2023:04:06 10:19:05",
        details=details,
    )
    row = read_one(photo)
    assert list(row) == list(EXIF_COLUMNS)
    assert row["latitude"] == pytest.approx(-33.856784, abs=1e-8)
    assert row["longitude"] == pytest.approx(151.215297, abs=1e-8)
    assert row["heading"] == pytest.approx(12.34)
    assert (row["heading_reference"], row["timestamp"]) == ("true", "2023-04-06T10:19:05.25+10:00")
    assert row["problem"] is None


@pytest.mark.parametrize("extension", ["jfif", "jpe", "avif"])
def test_other_formats_of_photos(tmp_path: Path, extension: str) -> None:
    write_photo(tmp_path / f"photo.{extension}", (-33.856784, 151.215297))
    table = read_photos(tmp_path, None)
    assert table["latitude"].to_list() == pytest.approx([-33.856784], abs=1e-8)


def test_heic_under_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pillow_heif")
    assert decoding.can_open_heic()
    write_photo(tmp_path / "photo.heic", (59.3293, 18.0686)).rename(tmp_path / "photo.jpg")
    monkeypatch.delitem(Image.OPEN, "HEIF")  # as in a run that has met no HEIC before
    decoding.can_open_heic.cache_clear()
    assert read_one(tmp_path / "photo.jpg")["latitude"] == pytest.approx(59.3293)


def test_position_of_a_photo_of_200_megapixels(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    image = Image.new("1", (16384, 12288))
    row = read_one(write_photo(tmp_path / "photo.png", (59.3293, 18.0686), image=image))
    assert (row["problem"], row["latitude"]) == (None, pytest.approx(59.3293))
    assert not recwarn.list


@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_hemispheres(tmp_path: Path, signs: tuple[int, int]) -> None:
    row = read_one(write_photo(tmp_path / "photo.jpg", (10.5 * signs[0], 20.25 * signs[1])))
    assert (row["latitude"], row["longitude"]) == pytest.approx((10.5 * signs[0], 20.25 * signs[1]))


@pytest.mark.parametrize(
    ("gps", "problem"),
    [
        ({GPS.GPSLatitude: None}, "no GPS position"),
        ({GPS.GPSLatitude: (IFDRational(0, 0), 0.0, 0.0)}, "no GPS position"),
        ({GPS.GPSLatitudeRef: None}, "does not say north or south"),
        ({GPS.GPSLongitudeRef: "?"}, "does not say north or south, east or west"),
        ({GPS.GPSLatitude: (0.0, 0.0, 0.0), GPS.GPSLongitude: (0.0, 0.0, 0.0)}, "both 0"),
        ({GPS.GPSLatitude: (97.0, 0.0, 0.0)}, "latitude 97.0 is not between -90 and 90"),
    ],
)
def test_photos_without_a_position_say_why(tmp_path: Path, gps: dict[int, Any], problem: str) -> None:
    row = read_one(write_photo(tmp_path / "photo.jpg", (10, 20), heading=5, gps=gps))
    assert problem in row["problem"]
    assert (row["latitude"], row["longitude"]) == (None, None)
    assert row["heading"] == 5


@pytest.mark.parametrize(
    ("reference", "latitude"), [("S", -33.856667), ("South", -33.856667), (None, -33.856667), ("N", None)]
)
def test_signed_position(tmp_path: Path, reference: str | None, latitude: float | None) -> None:
    gps: dict[int, Any] = {GPS.GPSLatitude: (33.0, 51.0, 24.0), GPS.GPSLatitudeRef: reference}
    row = read_one(sign_latitude(write_photo(tmp_path / "photo.jpg", (10, 20), gps=gps)))
    assert row["latitude"] == (None if latitude is None else pytest.approx(latitude))
    assert row["problem"] == (None if latitude else "its latitude or longitude contradicts N, S, E or W")


def test_odd_ways_to_write_a_position(tmp_path: Path) -> None:
    decimal_minutes = {GPS.GPSLatitude: (10.0, 30.5, IFDRational(0, 0)), GPS.GPSLatitudeRef: "s"}
    row = read_one(write_photo(tmp_path / "photo.jpg", (10, 20), gps=decimal_minutes))
    assert row["latitude"] == pytest.approx(-(10 + 30.5 / 60))


@pytest.mark.parametrize(
    ("gps", "heading", "reference"),
    [
        ({GPS.GPSImgDirectionRef: "M"}, 30, "magnetic"),
        ({GPS.GPSImgDirectionRef: None}, 30, None),
        ({GPS.GPSImgDirection: 360.0}, 0, "true"),
        ({GPS.GPSImgDirection: 361.0}, None, "true"),
        ({GPS.GPSImgDirection: IFDRational(0, 0)}, None, "true"),
    ],
)
def test_headings(tmp_path: Path, gps: dict[int, Any], heading: float | None, reference: str | None) -> None:
    row = read_one(write_photo(tmp_path / "photo.jpg", (10, 20), heading=30, gps=gps))
    assert (row["heading"], row["heading_reference"]) == (heading, reference)


@pytest.mark.parametrize("time", ["0000:00:00 00:00:00", "    :  :     :  :  ", "yesterday"])
def test_clocks_that_were_never_set(tmp_path: Path, time: str) -> None:
    assert read_one(write_photo(tmp_path / "photo.jpg", (10, 20), time=time))["timestamp"] is None


@pytest.mark.parametrize(
    ("details", "gps", "timestamp"),
    [
        ({BASE.DateTimeOriginal: "2023:04:06 10:19:05.250"}, {}, "2023-04-06T10:19:05.250"),
        ({BASE.DateTimeOriginal: "2023:04:06 10:19:05+02:00", BASE.OffsetTimeOriginal: "+01:00"}, {},
         "2023-04-06T10:19:05+02:00"),
        ({BASE.DateTimeOriginal: "0000:00:00 00:00:00", BASE.DateTimeDigitized: "2023:04:06 10:19:05",
          BASE.SubsecTimeDigitized: "25", BASE.OffsetTimeDigitized: "+02:00"}, {}, "2023-04-06T10:19:05.25+02:00"),
        ({BASE.DateTimeOriginal: "yesterday", BASE.DateTime: "2023:04:06 10:19:05", BASE.OffsetTime: "Z"}, {},
         "2023-04-06T10:19:05Z"),
        ({}, {GPS.GPSDateStamp: "2023:04:06", GPS.GPSTimeStamp: (8.0, 19.0, 5.5)}, "2023-04-06T08:19:05.500Z"),
        ({}, {GPS.GPSDateStamp: "2023:04:06", GPS.GPSTimeStamp: (8.0, 19.0, IFDRational(0, 0))}, None),
        ({BASE.DateTime: "2023:04:06 10:19:05"}, {GPS.GPSDateStamp: "2023:04:06", GPS.GPSTimeStamp: (8.0, 1.0, 5.0)},
         "2023-04-06T10:19:05"),
    ],
)  # fmt: skip
def test_times_and_what_stands_in_for_them(
    tmp_path: Path, details: dict[int, Any], gps: dict[int, Any], timestamp: str | None
) -> None:
    row = read_one(write_photo(tmp_path / "photo.jpg", (10, 20), gps=gps, details=details))
    assert (row["timestamp"], row["unread_time"]) == (timestamp, None)


def test_time_that_is_not_understood_is_kept_as_such(tmp_path: Path) -> None:
    row = read_one(write_photo(tmp_path / "photo.jpg", (10, 20), time="4/6/2023 10:19"))
    assert (row["timestamp"], row["unread_time"]) == (None, "4/6/2023 10:19")


def test_file_that_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("no image")
    assert "it cannot be read" in read_one(tmp_path / "photo.jpg")["problem"]


def test_heic_without_its_library_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "can_open_heic", lambda: False)
    (tmp_path / "photo.heic").touch()
    assert '[heic]"' in read_one(tmp_path / "photo.heic")["problem"]
