"""Positions in XMP, and in files beside photos."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from progeo.data.table import read_photos

from .photos import write_photo

PACKET = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description xmlns:exif="http://ns.adobe.com/exif/1.0/">
<exif:GPSLatitude>33,51.4S</exif:GPSLatitude><exif:GPSLongitude>151,12,54E</exif:GPSLongitude>
<exif:GPSImgDirection>1763/10</exif:GPSImgDirection><exif:GPSImgDirectionRef>T</exif:GPSImgDirectionRef>
<exif:DateTimeOriginal>2023-04-06T10:01:00+02:00</exif:DateTimeOriginal></rdf:Description></rdf:RDF></x:xmpmeta>"""
ATTRIBUTES = '<rdf:Description exif:GPSLatitude="59,19.77N" exif:GPSLongitude="18,4.116E"/>'
SAID = ("latitude", "longitude", "heading", "timestamp")


def read(folder: Path) -> list[tuple[object, ...]]:
    return read_photos(folder, folder.with_name("cache"), one_plane=False).select(*SAID).rows()


def test_xmp_within_a_photo(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / "photos/a.jpg", xmp=PACKET.encode())
    assert read(tmp_path / "photos") == [
        (pytest.approx(-33.856667), pytest.approx(151.215), 176.3, "2023-04-06T10:01:00+02:00")
    ]


@pytest.mark.parametrize("name", ["a.xmp", "a.jpg.xmp", "A.XMP"])
def test_files_of_editors_go_before_what_is_in_the_photo(tmp_path: Path, name: str) -> None:
    write_photo(tmp_path / "photos/a.jpg", (1, 2), heading=45, time="2023:04:06 10:00:00")
    write_photo(tmp_path / "photos/b.jpg", (1, 2))
    sidecar = tmp_path / "photos" / name
    sidecar.write_text(ATTRIBUTES)
    other = (1.0, 2.0, None, None)
    assert read(tmp_path / "photos") == [
        (pytest.approx(59.3295), pytest.approx(18.0686), 45.0, "2023-04-06T10:00:00"),
        other,
    ]
    sidecar.write_text(ATTRIBUTES.replace("59,19.77N", "59,19.77S"))  # kept tables know of it
    assert read(tmp_path / "photos")[0][0] == pytest.approx(-59.3295)
    sidecar.unlink()
    assert read(tmp_path / "photos") == [(1.0, 2.0, 45.0, "2023-04-06T10:00:00"), other]


@pytest.mark.parametrize("name", ["a.jpg.json", "a.jpg.supplemental-metadata.json"])
def test_files_of_google_stand_in_for_what_is_missing(tmp_path: Path, name: str) -> None:
    write_photo(tmp_path / "photos/a.jpg")
    zeros = {"latitude": 0.0, "longitude": 0.0}
    place = {"latitude": 59.3296, "longitude": 18.0686}
    for content in ({"geoData": place, "geoDataExif": zeros}, {"geoData": zeros, "geoDataExif": place}):
        taken = {"photoTakenTime": {"timestamp": "1680775380"}}
        (tmp_path / "photos" / name).write_text(json.dumps(content | taken))
        assert read(tmp_path / "photos") == [(59.3296, 18.0686, None, "2023-04-06T10:03:00Z")]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"geoData": 1}', "[" * 100_000, "<exif:GPSLatitude>x"])
def test_files_beside_photos_that_are_nothing(tmp_path: Path, text: str) -> None:
    write_photo(tmp_path / "photos/a.jpg", (1, 2))
    (tmp_path / "photos/a.jpg.json").write_text(text)
    (tmp_path / "photos/a.xmp").write_text(text)
    assert read(tmp_path / "photos") == [(1.0, 2.0, None, None)]
