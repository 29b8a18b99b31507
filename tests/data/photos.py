"""Tiny photos with EXIF data, as cameras write them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

GPS, BASE = ExifTags.GPS, ExifTags.Base


def to_sexagesimal(degrees: float) -> tuple[float, float, float]:
    """Degrees, minutes and seconds of an angle without its sign."""
    degrees = abs(degrees)
    minutes = degrees % 1 * 60
    return float(int(degrees)), float(int(minutes)), minutes % 1 * 60


def write_photo(
    path: Path,
    position: tuple[float, float] | None = None,
    *,
    heading: float | None = None,
    time: str | None = None,
    gps: dict[int, Any] | None = None,
    details: dict[int, Any] | None = None,
    image: Image.Image | None = None,
) -> Path:
    """Write a photo, grey and of 8 x 6 pixels if no ``image`` is given.

    ``gps`` and ``details`` set further tags, or take away those that are None.
    """
    tags: dict[int, Any] = {}
    if position is not None:
        latitude, longitude = position
        tags |= {GPS.GPSLatitudeRef: "N" if latitude >= 0 else "S", GPS.GPSLatitude: to_sexagesimal(latitude)}
        tags |= {GPS.GPSLongitudeRef: "E" if longitude >= 0 else "W", GPS.GPSLongitude: to_sexagesimal(longitude)}
    if heading is not None:
        tags |= {GPS.GPSImgDirectionRef: "T", GPS.GPSImgDirection: heading}
    exif = Image.Exif()
    exif[BASE.Orientation] = 1  # without any tag of the main directory, PNG writes none at all,
    exif[BASE.Make] = "test"  # and AVIF takes that one away
    for ifd, values in (
        (ExifTags.IFD.GPSInfo, tags | (gps or {})),
        (ExifTags.IFD.Exif, ({BASE.DateTimeOriginal: time} if time else {}) | (details or {})),
    ):
        exif.get_ifd(ifd).update({int(tag): value for tag, value in values.items() if value is not None})
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or Image.new("RGB", (8, 6), "gray")).save(path, exif=exif)
    return path


def sign_latitude(path: Path) -> Path:
    """Write the latitude of a JPEG as signed rationals, all negative, which Pillow does not do."""
    content = bytearray(path.read_bytes())
    header = content.index(b"Exif\0\0") + 6
    order = "<" if content[header : header + 2] == b"II" else ">"
    entry = content.index(struct.pack(f"{order}HHI", GPS.GPSLatitude, 5, 3), header)
    struct.pack_into(f"{order}H", content, entry + 2, 10)
    (offset,) = struct.unpack_from(f"{order}I", content, entry + 8)
    for place in range(header + offset, header + offset + 24, 8):
        struct.pack_into(f"{order}i", content, place, -struct.unpack_from(f"{order}i", content, place)[0])
    path.write_bytes(content)
    return path
