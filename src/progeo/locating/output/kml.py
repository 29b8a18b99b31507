"""Located photos as KML, or as KMZ with small pictures in it (OGC KML 2.3): for Google Earth and many other maps."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from html import escape
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from progeo.data.sphere import EARTH_RADIUS
from progeo.errors import ProgeoError
from progeo.files import atomic_write
from progeo.locating.estimate import Located
from progeo.locating.output.marked import Marked, mark
from progeo.pixels.recipe import Preprocessing, open_photo
from progeo.pixels.thumbnails import make_thumbnail

CORNERS = 36
"""Of the polygon that stands for a circle."""
PICTURE_SIDE = 640
STYLE = (("LineStyle", "ff0088ff"), ("PolyStyle", "400088ff"))
"""Colours as alpha, blue, green, red."""


def write_kml(results: Sequence[Located], path: str | Path) -> int:
    """Write the photos whose position is told, with circles; return how many there are.

    A ``.kmz`` file holds small pictures; a ``.kml`` file points to the photos where they are.

    Raises:
        ProgeoError: the file is called otherwise, or cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in (".kml", ".kmz"):
        raise ProgeoError(f"`kml` {path}: the file must be called .kml, or .kmz to hold the pictures.")
    marked = mark(results, "kml")
    if path.suffix.lower() == ".kml":
        with atomic_write(path) as temporary:
            temporary.write_bytes(_draw(marked, [photo.address for photo in marked]))
        return len(marked)
    names = [f"files/{number:05d}.jpg" for number in range(len(marked))]
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("doc.kml", _draw(marked, names))  # the first file is the one that is opened
        for photo, name in zip(marked, names, strict=True):
            picture = make_thumbnail(open_photo(photo.path, Preprocessing(PICTURE_SIDE)), PICTURE_SIDE)
            archive.writestr(name, picture, zipfile.ZIP_STORED)
    return len(marked)


def _draw(marked: Sequence[Marked], pictures: Sequence[str]) -> bytes:
    """Return the document."""
    root = Element("kml", xmlns="http://www.opengis.net/kml/2.2")
    document = SubElement(root, "Document")
    style = SubElement(document, "Style", id="circle")
    for name, colour in STYLE:
        SubElement(SubElement(style, name), "color").text = colour
    for photo, picture in zip(marked, pictures, strict=True):
        place = SubElement(document, "Placemark")
        SubElement(place, "name").text = photo.name
        SubElement(place, "description").text = f'<img src="{escape(picture)}" width="400"><br>{photo.describe()}'
        if photo.time:
            SubElement(SubElement(place, "TimeStamp"), "when").text = photo.time.isoformat().replace("+00:00", "Z")
        SubElement(SubElement(place, "Point"), "coordinates").text = f"{photo.longitude:.7f},{photo.latitude:.7f},0"
        if photo.radius:
            circle = SubElement(document, "Placemark")
            SubElement(circle, "name").text = f"{photo.name}: radius {photo.radius:.0f} m"
            SubElement(circle, "styleUrl").text = "#circle"
            ring = SubElement(SubElement(SubElement(circle, "Polygon"), "outerBoundaryIs"), "LinearRing")
            SubElement(ring, "coordinates").text = _draw_circle(photo.latitude, photo.longitude, photo.radius)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def _draw_circle(latitude: float, longitude: float, radius: float) -> str:
    """Return the corners of a circle with a radius in metres, closed."""
    angles = np.linspace(0, 2 * np.pi, CORNERS + 1)
    reach = np.degrees(radius / EARTH_RADIUS)
    north = latitude + reach * np.cos(angles)
    east = longitude + reach * np.sin(angles) / max(np.cos(np.radians(latitude)), 0.01)
    return " ".join(f"{x:.7f},{y:.7f},0" for x, y in zip(east, north, strict=True))
