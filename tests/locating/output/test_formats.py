"""GPX, KML, KMZ, exiftool's table, and OpenDroneMap's."""

from __future__ import annotations

import csv
import subprocess
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from progeo.errors import ProgeoError
from progeo.locating.estimate import Located
from progeo.locating.output.exiftool_csv import write_exiftool_csv
from progeo.locating.output.gpx import write_gpx
from progeo.locating.output.kml import write_kml
from progeo.locating.output.odm import write_odm_geo

from .photos import QUADRANTS, ask_exiftool, locate, write_camera_photo

GPX, KML = "{http://www.topografix.com/GPX/1/1}", "{http://www.opengis.net/kml/2.2}"


@pytest.fixture
def results(tmp_path: Path) -> list[Located]:
    """Four photos in the four quadrants, and one of an unknown place."""
    found = [
        locate(write_camera_photo(tmp_path / f"a & <b>/{number}.jpg"), *place) for number, place in enumerate(QUADRANTS)
    ]
    return [*found, locate(write_camera_photo(tmp_path / "unknown.jpg"), known=False)]


def test_gpx(results: list[Located], tmp_path: Path) -> None:
    assert write_gpx(results, tmp_path / "a.gpx") == 4
    root = ElementTree.parse(tmp_path / "a.gpx").getroot()
    points = root.findall(f"{GPX}wpt")
    assert [(float(point.get("lat", "")), float(point.get("lon", ""))) for point in points] == QUADRANTS
    assert points[0].findtext(f"{GPX}name") == "0.jpg"
    assert points[0].findtext(f"{GPX}time") == "2024-05-04T11:12:31Z"  # GPX has UTC alone
    assert "90 % sure" in (points[0].findtext(f"{GPX}desc") or "")
    assert len(root.findall(f".//{GPX}trkpt")) == 4


@pytest.mark.parametrize("name", ["a.kml", "a.kmz"])
def test_kml(name: str, results: list[Located], tmp_path: Path) -> None:
    assert write_kml(results, tmp_path / name) == 4
    if name.endswith("z"):
        with zipfile.ZipFile(tmp_path / name) as archive:
            assert archive.namelist()[0] == "doc.kml" and len(archive.namelist()) == 5
            assert archive.read("files/00000.jpg")[:2] == b"\xff\xd8"
            root = ElementTree.fromstring(archive.read("doc.kml"))
    else:
        root = ElementTree.parse(tmp_path / name).getroot()
    places = root.findall(f".//{KML}Point/{KML}coordinates")
    assert [tuple(map(float, (place.text or "").split(","))) for place in places] == [(x, y, 0) for y, x in QUADRANTS]
    ring = (root.findtext(f".//{KML}LinearRing/{KML}coordinates") or "").split()
    assert len(ring) == 37 and ring[0] == ring[-1]
    north = float(ring[0].split(",")[1])
    assert (north - QUADRANTS[0][0]) * 111_195 == pytest.approx(12.34, abs=0.02)


def test_kml_of_another_name(results: list[Located], tmp_path: Path) -> None:
    with pytest.raises(ProgeoError, match=r"`kml` a.txt: the file must be called .kml, or .kmz"):
        write_kml(results, "a.txt")


def test_exiftool_takes_its_table(results: list[Located], tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    assert write_exiftool_csv(results, table) == 4
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[2]["GPSLatitudeRef"] == "S" and float(rows[2]["GPSLatitude"]) == -QUADRANTS[2][0]
    ask_exiftool(Path(results[0].path))
    photos = [result.path for result in results[:4]]
    subprocess.run(["exiftool", "-q", "-overwrite_original", f"-csv={table}", *photos], check=True)
    for path, place in zip(photos, QUADRANTS, strict=True):
        said = ask_exiftool(Path(path), "-Composite:GPSLatitude", "-Composite:GPSLongitude")
        assert said["Composite:GPSLatitude"] == pytest.approx(place[0], abs=1e-7)
        assert said["Composite:GPSLongitude"] == pytest.approx(place[1], abs=1e-7)


def test_odm_geo(results: list[Located], tmp_path: Path) -> None:
    assert write_odm_geo(results, tmp_path / "geo.txt") == 4
    first, *lines = (tmp_path / "geo.txt").read_text(encoding="utf-8").splitlines()
    assert first == "EPSG:4326"
    name, longitude, latitude, *_, across, up = lines[1].split(" ")
    assert (name, float(latitude), float(longitude)) == ("1.jpg", *QUADRANTS[1])
    assert (float(across), float(up)) == (12.3, 1000)


def test_odm_knows_names_alone(tmp_path: Path) -> None:
    for names, message in (
        (["a/1.jpg", "b/1.jpg"], "several photos are called 1.jpg"),
        (["a b.jpg"], "'a b.jpg' holds"),
    ):
        results = [locate(write_camera_photo(tmp_path / name)) for name in names]
        with pytest.raises(ProgeoError, match=message):
            write_odm_geo(results, tmp_path / "geo.txt")
