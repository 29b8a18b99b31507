"""Positions in EXIF data: read back, and nothing else touched."""

from __future__ import annotations

import subprocess
from pathlib import Path

import polars as pl
import pytest
from PIL import ExifTags, Image

from progeo.data.exif import ESTIMATED, read_exif
from progeo.errors import ProgeoError
from progeo.locating.output.exif import PositionToWrite, describe_block, remove_position, write_position

from ...data.photos import write_photo
from .photos import MAKER_NOTE, QUADRANTS, ask_exiftool, find_scan, write_camera_photo


@pytest.mark.parametrize("place", QUADRANTS)
@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_positions_are_read_back(place: tuple[float, float], kind: str, tmp_path: Path) -> None:
    path = write_camera_photo(tmp_path / f"a{kind}")
    before = path.read_bytes()
    path.write_bytes(write_position(before, PositionToWrite(*place, 12.34)))
    said = ask_exiftool(path, "-Warning", "-EXIF:all", "-GPS:all", "-Composite:all", "-validate")
    signs = {"N": 1, "S": -1, "E": 1, "W": -1}
    assert said["GPS:GPSLatitude"] * signs[said["GPS:GPSLatitudeRef"]] == pytest.approx(place[0], abs=1e-7)
    assert said["GPS:GPSLongitude"] * signs[said["GPS:GPSLongitudeRef"]] == pytest.approx(place[1], abs=1e-7)
    assert said["GPS:GPSHPositioningError"] == pytest.approx(12.34)
    assert (said["GPS:GPSProcessingMethod"], said["GPS:GPSMapDatum"]) == ("progeo", "WGS-84")
    assert said["GPS:GPSVersionID"] in ("2 3 0 0", "2.3.0.0")
    with Image.open(path) as image:
        gps = image.getexif().get_ifd(ExifTags.IFD.GPSInfo)
        assert image.getexif()[ExifTags.Base.Orientation] == 6
    degrees = sum(float(part) / 60**power for power, part in enumerate(gps[ExifTags.GPS.GPSLatitude]))
    assert degrees * signs[gps[ExifTags.GPS.GPSLatitudeRef]] == pytest.approx(place[0], abs=1e-7)
    assert read_exif(pl.Series([str(path)]))["problem"].to_list() == [ESTIMATED]


def test_image_note_and_thumbnail_stay(tmp_path: Path) -> None:
    path = write_camera_photo(tmp_path / "a.jpg")
    before = path.read_bytes()
    thumbnail, warned = subprocess_bytes(path), ask_exiftool(path, "-Warning")
    path.write_bytes(write_position(before, PositionToWrite(*QUADRANTS[0], 5)))
    after = path.read_bytes()
    assert find_scan(after) == find_scan(before)
    assert before.index(MAKER_NOTE) == after.index(MAKER_NOTE)  # offsets in it are absolute
    assert subprocess_bytes(path) == thumbnail and thumbnail[:2] == b"\xff\xd8"
    said = ask_exiftool(path, "-EXIF:all", "-IFD0:all", "-ExifIFD:all")
    assert (said["IFD0:Make"], said["ExifIFD:DateTimeOriginal"]) == ("Toy", "2024:05:04 11:12:31")
    assert ask_exiftool(path, "-Warning") == warned


def subprocess_bytes(path: Path) -> bytes:
    """The thumbnail."""
    ask_exiftool(path)
    return subprocess.run(["exiftool", "-b", "-ThumbnailImage", str(path)], capture_output=True, check=True).stdout


@pytest.mark.parametrize("kind", [".jpg", ".png"])
@pytest.mark.parametrize("has_exif", [True, False])
def test_it_is_undone_to_the_byte(kind: str, has_exif: bool, tmp_path: Path) -> None:
    path = tmp_path / f"a{kind}"
    if has_exif:
        write_camera_photo(path)
    else:
        Image.new("RGB", (8, 6)).save(path)
    before = path.read_bytes()
    known = describe_block(before)
    written = write_position(before, PositionToWrite(1, 2, 3))
    assert written != before
    twice = write_position(written, PositionToWrite(-1, -2, 3))
    assert remove_position(written, *known) == before
    assert remove_position(twice, *describe_block(written)) == written


def test_other_gps_tags_stay(tmp_path: Path) -> None:
    path = write_photo(tmp_path / "a.jpg", (59.1, 18.1), heading=77, gps={ExifTags.GPS.GPSDateStamp: "2024:05:04"})
    path.write_bytes(write_position(path.read_bytes(), PositionToWrite(-10.5, -20.25, 5)))
    said = ask_exiftool(path, "-GPS:all")
    assert (said["GPS:GPSImgDirection"], said["GPS:GPSDateStamp"]) == (77, "2024:05:04")
    assert said["GPS:GPSLatitude"] == pytest.approx(10.5) and said["GPS:GPSLatitudeRef"] == "S"


def test_an_unknown_radius_is_not_written(tmp_path: Path) -> None:
    path = write_camera_photo(tmp_path / "a.jpg")
    known = write_position(path.read_bytes(), PositionToWrite(*QUADRANTS[0], 12.34))
    path.write_bytes(write_position(known, PositionToWrite(*QUADRANTS[1], None)))
    said = ask_exiftool(path, "-GPS:all")
    assert said["GPS:GPSLatitudeRef"] == "S" and "GPS:GPSHPositioningError" not in said


def test_what_cannot_be_written(tmp_path: Path) -> None:
    path = write_camera_photo(tmp_path / "a.jpg")
    content = path.read_bytes()
    position = PositionToWrite(1, 2, 3)
    with pytest.raises(ProgeoError, match="only JPEG and PNG"):
        write_position(b"RIFF....WEBP", position)
    with pytest.raises(ProgeoError, match="damaged"):
        write_position(content[:20], position)
    with pytest.raises(ProgeoError, match="EXIF data is damaged"):
        write_position(content.replace(b"MM\0*", b"MX\0*").replace(b"II*\0", b"IX*\0"), position)
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[0x927C] = bytes(65_300)
    Image.new("RGB", (8, 6)).save(tmp_path / "full.jpg", exif=exif)
    with pytest.raises(ProgeoError, match="full, as a JPEG holds 64 KB"):
        write_position((tmp_path / "full.jpg").read_bytes(), position)
