"""Located photos as GPX 1.1, which maps, phones and photo managers read.

Each photo is a way point. Photos that say their time make a track too: programs that place photos by time, such as
digiKam and Lightroom, read tracks alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from progeo.files import atomic_write
from progeo.locating.estimate import Located
from progeo.locating.output.marked import Marked, mark


def write_gpx(results: Sequence[Located], path: str | Path) -> int:
    """Write the photos whose position is told; return how many there are.

    Raises:
        ProgeoError: the file cannot be written.
    """
    marked = mark(results, "gpx")
    root = Element("gpx", version="1.1", creator="progeo", xmlns="http://www.topografix.com/GPX/1/1")
    for photo in marked:
        point = _add_point(root, "wpt", photo)
        SubElement(point, "name").text = photo.name
        SubElement(point, "desc").text = photo.describe()
        SubElement(point, "link", href=photo.address)
        SubElement(point, "type").text = "photo"
    timed = sorted((photo for photo in marked if photo.time), key=lambda photo: str(photo.time))
    if timed:
        segment = SubElement(SubElement(root, "trk"), "trkseg")
        for photo in timed:
            _add_point(segment, "trkpt", photo)
    ElementTree.indent(root)
    with atomic_write(path) as temporary:
        ElementTree.ElementTree(root).write(temporary, encoding="utf-8", xml_declaration=True)
    return len(marked)


def _add_point(parent: Element, kind: str, photo: Marked) -> Element:
    point = SubElement(parent, kind, lat=f"{photo.latitude:.7f}", lon=f"{photo.longitude:.7f}")
    if photo.time:
        SubElement(point, "time").text = photo.time.isoformat().replace("+00:00", "Z")
    return point
