"""Positions in XMP files: read back, and what others wrote there stays."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from progeo.data.exif import ESTIMATED, read_exif
from progeo.data.xmp import read_xmp
from progeo.errors import ProgeoError
from progeo.locating.output.exif import PositionToWrite
from progeo.locating.output.xmp import name_sidecar, write_position

from .photos import QUADRANTS, ask_exiftool, write_camera_photo

OF_EDITOR = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Editor">
  <r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
    <r:Description r:about="uuid:1" xmlns:e="http://ns.adobe.com/exif/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
      xmp:Rating="4" e:GPSLatitude="1,2.5N" e:GPSImgDirection="2684/10">
      <e:GPSLongitude>3,4.5E</e:GPSLongitude>
      <e:GPSAltitude>120/1</e:GPSAltitude>
      <xmp:Label>Stra\u00dfe &amp; more</xmp:Label>
    </r:Description>
  </r:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


@pytest.mark.parametrize("place", QUADRANTS)
@pytest.mark.parametrize("existing", [None, OF_EDITOR.encode()], ids=["new", "merged"])
def test_positions_are_read_back(place: tuple[float, float], existing: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg.xmp"
    path.write_bytes(write_position(existing, PositionToWrite(*place, 12.34)))
    said = ask_exiftool(path, "-XMP:all", "-Warning")
    assert said["XMP-exif:GPSLatitude"] == pytest.approx(place[0], abs=1e-7)
    assert said["XMP-exif:GPSLongitude"] == pytest.approx(place[1], abs=1e-7)
    assert said["XMP-exif:GPSHPositioningError"] == pytest.approx(12.4)
    assert said["XMP-exif:GPSProcessingMethod"] == "progeo"
    assert not [name for name in said if name.endswith("Warning")], said
    read = read_xmp(path.read_bytes())
    assert (read["latitude"], read["longitude"]) == pytest.approx(place, abs=1e-7)
    assert read["method"] == "progeo"


def test_what_an_editor_wrote_stays() -> None:
    written = write_position(OF_EDITOR.encode(), PositionToWrite(59.5, 18.25, 5)).decode()
    for kept in (
        'xmp:Rating="4"',
        'e:GPSImgDirection="2684/10"',
        "<xmp:Label>Stra\u00dfe &amp; more</xmp:Label>",
        "uuid:1",
    ):
        assert kept in written
    for gone in ("1,2.5N", "3,4.5E", "GPSAltitude"):
        assert gone not in written
    again = write_position(written.encode(), PositionToWrite(-1.5, -2.5, 5)).decode()
    assert again.count("GPSLatitude>") == 2 and "59,30" not in again
    assert written.split("<r:RDF")[0] == OF_EDITOR.split("<r:RDF")[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe<\0", "not in UTF-8"),
        (b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>", "damaged"),
        (b"<!DOCTYPE a><a/>", "defines entities"),
        (b"<a/>", "no description"),
    ],
)
def test_files_that_are_left_alone(content: bytes, message: str) -> None:
    with pytest.raises(ProgeoError, match=message):
        write_position(content, PositionToWrite(1, 2, 3))


def test_names() -> None:
    assert name_sidecar("b/a.x.jpg") == Path("b/a.x.jpg.xmp")
    assert name_sidecar("b/a.x.jpg", "stem") == Path("b/a.x.xmp")


def test_an_estimate_beside_a_photo_is_no_position(tmp_path: Path) -> None:
    """A measured position in the photo counts, whatever stands beside it."""
    bare = write_camera_photo(tmp_path / "bare.jpg")
    gps = {1: "N", 2: (59.0, 30.0, 0.0), 3: "E", 4: (18.0, 15.0, 0.0)}
    measured = write_camera_photo(tmp_path / "measured.jpg", gps)
    for path in (bare, measured):
        name_sidecar(path).write_bytes(write_position(None, PositionToWrite(1, 2, 3)))
    table = read_exif(pl.Series([str(bare), str(measured)]))
    assert table["problem"].to_list() == [ESTIMATED, None]
    assert table["latitude"].to_list() == [None, 59.5]
