"""Positions written into XMP files beside photos (XMP specification, parts 1 and 2: Exif properties).

An existing file is edited as text: the properties of a position are taken out, and new ones put in as elements of a
description of their own. All else stays as it is to the byte.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree

from progeo.errors import ProgeoError
from progeo.locating.output.exif import MARK, PositionToWrite

EXIF, RDF = "http://ns.adobe.com/exif/1.0/", "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
NAMES = (
    *("GPSVersionID", "GPSLatitude", "GPSLongitude", "GPSMapDatum", "GPSProcessingMethod", "GPSHPositioningError"),
    *("GPSAltitude", "GPSAltitudeRef", "GPSSatellites", "GPSStatus", "GPSMeasureMode", "GPSDOP", "GPSDifferential"),
)
"""Of another position."""
EMPTY = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""


def name_sidecar(photo: str | Path, style: str = "full") -> Path:
    """Return the XMP file of a photo: ``photo.jpg.xmp``, or ``photo.xmp`` in the style ``stem``."""
    photo = Path(photo)
    return photo.with_name(f"{photo.stem if style == 'stem' else photo.name}.xmp")


def write_position(content: bytes | None, position: PositionToWrite) -> bytes:
    """Return the content of an XMP file with a position.

    Args:
        content: of the file as it is, None where there is none.
        position: to write.

    Raises:
        ProgeoError: the file is no XMP that can be edited.
    """
    text = EMPTY if content is None else _read(content)
    rdf = _find_prefix(text, RDF)
    about = re.search(rf"<{rdf}:Description\b[^>]*\b{rdf}:about\s*=\s*(\"[^\"]*\"|'[^']*')", text)
    for prefix in {_find_prefix(text, EXIF), "exif"}:
        name = rf"{prefix}:(?:{'|'.join(NAMES)})"
        text = re.sub(rf"[ \t]*<({name})\b[^>]*(?:/>|>[^<]*</\1\s*>)[ \t]*\r?\n?", "", text)
        text = re.sub(rf"\s+{name}\s*=\s*(?:\"[^\"]*\"|'[^']*')", "", text)
    lines = "\n".join(f"   <exif:{name}>{value}</exif:{name}>" for name, value in describe(position).items())
    about_text = about[1] if about else '""'
    added = f'  <{rdf}:Description {rdf}:about={about_text} xmlns:exif="{EXIF}">\n{lines}\n  </{rdf}:Description>\n '
    start, end, rest = text.rpartition(f"</{rdf}:RDF>")
    if not end:
        raise ProgeoError("its XMP file holds no description that can be added to")
    written = start.rstrip(" \t") + added + end + rest
    _check(written)
    return written.encode("utf-8")


def describe(position: PositionToWrite) -> dict[str, str]:
    """Return the properties of a position."""
    radius = position.radius_metres
    return {
        "GPSVersionID": "2.3.0.0",
        "GPSLatitude": _format(position.latitude, "NS"),
        "GPSLongitude": _format(position.longitude, "EW"),
        "GPSMapDatum": "WGS-84",
        "GPSProcessingMethod": MARK,
        **({} if radius is None else {"GPSHPositioningError": f"{math.ceil(radius * 10)}/10"}),
    }


def _format(degrees: float, letters: str) -> str:
    """Return an angle as degrees and decimal minutes, ``59,19.758333N``; a millionth of a minute is 2 mm."""
    whole, millionths = divmod(round(abs(degrees) * 60 * 10**6), 60 * 10**6)
    return f"{whole},{millionths // 10**6}.{millionths % 10**6:06d}{letters[degrees < 0]}"


def _read(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig" if content[:3] == b"\xef\xbb\xbf" else "utf-8")
    except UnicodeDecodeError as error:
        raise ProgeoError("its XMP file is not in UTF-8") from error
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ProgeoError("its XMP file defines entities, which no program writes there")
    _check(text)
    return text


def _check(text: str) -> None:
    try:
        ElementTree.fromstring(text.lstrip("\ufeff"))
    except ElementTree.ParseError as error:
        raise ProgeoError(f"its XMP file is damaged ({error})") from error


def _find_prefix(text: str, namespace: str) -> str:
    """Return what stands for a namespace, or its usual prefix."""
    found = re.search(rf"xmlns:([\w.-]+)\s*=\s*[\"']{re.escape(namespace)}[\"']", text)
    return found[1] if found else {EXIF: "exif", RDF: "rdf"}[namespace]
