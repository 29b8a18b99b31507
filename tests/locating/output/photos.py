"""Photos as cameras write them, and what exiftool says of them."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags, Image

from progeo.locating.estimate import Estimate, Located, Match

MATCH = Match("1" * 32, "/photos/match.jpg", 59.33, 18.07, None, None, 0.5, 3.0, 1.0)
MAKER_NOTE = b"TOY\0" + bytes(range(200))
QUADRANTS = [
    (59.3293127, 18.0686101),
    (-33.8568431, 151.2152979),
    (-22.9519173, -43.2104872),
    (40.6892494, -74.0445004),
]


def locate(path: str | Path, latitude: float = 59.3293127, longitude: float = 18.0686101, **values: Any) -> Located:
    """A photo as if it had been located."""
    fields = dict.fromkeys(Estimate.__dataclass_fields__)
    known = {"radius_metres": 12.34, "agreement": 0.7, "probability": 0.9, "calibrated": True, "known": True}
    said = {**fields, "latitude": latitude, "longitude": longitude, **known, "matches": [MATCH], **values}
    return Located(str(path), Estimate(**said))


def write_camera_photo(path: Path, gps: dict[int, Any] | None = None) -> Path:
    """A JPEG with MakerNote, thumbnail and orientation, or a PNG with EXIF data."""
    image = Image.effect_noise((64, 48), 60).convert("RGB")
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Toy"
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.Exif).update({0x9003: "2024:05:04 11:12:31", 0x927C: MAKER_NOTE})
    if gps:
        exif.get_ifd(ExifTags.IFD.GPSInfo).update(gps)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, exif=exif, **({"quality": 90} if path.suffix == ".jpg" else {}))
    if path.suffix == ".jpg":
        _add_thumbnail(path, image)
    return path


def _add_thumbnail(path: Path, image: Image.Image) -> None:
    """Append a second directory with a small JPEG, as cameras do."""
    import io

    small = io.BytesIO()
    image.resize((16, 12)).save(small, format="JPEG")
    thumbnail, content = small.getvalue(), path.read_bytes()
    start = content.index(b"\xff\xe1")
    (length,) = struct.unpack_from(">H", content, start + 2)
    tiff = bytearray(content[start + 10 : start + 2 + length])
    order = "<" if tiff[:2] == b"II" else ">"
    (place,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, place)
    tiff += bytes(len(tiff) % 2)
    struct.pack_into(f"{order}I", tiff, place + 2 + 12 * count, len(tiff))
    at = len(tiff) + 2 + 3 * 12 + 4
    tiff += struct.pack(f"{order}H", 3)
    tiff += struct.pack(f"{order}HHII", 0x103, 3, 1, 6 if order == "<" else 6 << 16)
    tiff += struct.pack(f"{order}HHII", 0x201, 4, 1, at) + struct.pack(f"{order}HHII", 0x202, 4, 1, len(thumbnail))
    tiff += struct.pack(f"{order}I", 0) + thumbnail
    segment = b"\xff\xe1" + struct.pack(">H", 8 + len(tiff)) + b"Exif\0\0" + tiff
    path.write_bytes(content[:start] + segment + content[start + 2 + length :])


def ask_exiftool(path: Path, *options: str) -> dict[str, Any]:
    """What exiftool reads, numbers as numbers."""
    program = shutil.which("exiftool")
    if program is None:
        pytest.skip("exiftool is not installed (Debian: libimage-exiftool-perl)")
    words = [program, "-json", "-n", "-G1", *options, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    (said,) = json.loads(done.stdout)
    return dict(said)


def find_scan(content: bytes) -> bytes:
    """The data of a JPEG's image, from the start of its scan on."""
    return content[content.rindex(b"\xff\xda") :]
