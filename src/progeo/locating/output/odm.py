"""Located photos as ``geo.txt`` of OpenDroneMap: positions for photos that have none, or have worse ones.

Source: https://docs.opendronemap.org/geo, the first line is the coordinate system, then name, longitude, latitude,
altitude, three angles, and the accuracy across and up in metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from progeo.errors import ProgeoError
from progeo.files import atomic_write
from progeo.locating.estimate import Located
from progeo.locating.output.marked import mark


def write_odm_geo(results: Sequence[Located], path: str | Path) -> int:
    """Write the photos whose position is told; return how many there are. Altitude and angles are not known: 0.

    Raises:
        ProgeoError: names are the same or hold blanks, or the file cannot be written.
    """
    marked = mark(results, "odm_geo")
    names = [Path(photo.path).name for photo in marked]
    doubled = next((name for name in names if names.count(name) > 1), None)
    blank = next((name for name in names if len(name.split()) != 1), None)
    if doubled or blank:
        what = f"several photos are called {doubled}" if doubled else f"the name {blank!r} holds a blank"
        raise ProgeoError(f"`odm_geo`: {what}, and OpenDroneMap knows photos by their names alone. Please rename them.")
    lines = [
        f"{name} {photo.longitude:.8f} {photo.latitude:.8f} 0 0 0 0 {photo.radius or 25:.1f} 1000"
        for name, photo in zip(names, marked, strict=True)
    ]
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(["EPSG:4326", *lines]) + "\n", encoding="utf-8")
    return len(marked)
