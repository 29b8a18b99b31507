"""Located photos as the table that ``exiftool -csv=FILE`` writes into photos of any format, HEIC and RAW too."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from progeo.files import atomic_write
from progeo.locating.estimate import Located
from progeo.locating.output.exif import MARK
from progeo.locating.output.marked import mark

COLUMNS = (
    *("SourceFile", "GPSLatitude", "GPSLatitudeRef", "GPSLongitude", "GPSLongitudeRef"),
    *("GPSHPositioningError", "GPSMapDatum", "GPSProcessingMethod"),
)


def write_exiftool_csv(results: Sequence[Located], path: str | Path) -> int:
    """Write the photos whose position is told; return how many there are. Photos are named as they were given.

    Raises:
        ProgeoError: the file cannot be written.
    """
    marked = mark(results, "exiftool_csv")
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for photo in marked:
            latitude, longitude = f"{abs(photo.latitude):.8f}", f"{abs(photo.longitude):.8f}"
            radius = "" if photo.radius is None else f"{photo.radius:.1f}"
            references = "N" if photo.latitude >= 0 else "S", "E" if photo.longitude >= 0 else "W"
            writer.writerow([photo.path, latitude, references[0], longitude, references[1], radius, "WGS-84", MARK])
    return len(marked)
