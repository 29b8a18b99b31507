"""What is said of a photo outside its EXIF data: in XMP, within it or in a file beside it, and in Google's JSON.

XMP: its specification, part 2, section 2.5 (Exif properties). Editors put a file ``IMG_1.xmp`` or ``IMG_1.jpg.xmp``
beside a photo that they leave as it is; exports of Google Photos have ``IMG_1.jpg.json``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import polars as pl

from progeo.data.listing import list_folders
from progeo.files import read_bytes

PHOTOS_OF_GOOGLE = (".json", ".supplemental-metadata.json")
PROPERTY = r"""[<\s][\w-]+:(GPS\w+|Date\w+|CreateDate)\s*(?:=\s*["']|>)\s*([^"'<>\s][^"'<>]*?)\s*["'<]"""
XMP_TIMES = ("DateTimeOriginal", "DateTimeDigitized", "DateCreated", "CreateDate")


def find_sidecars(paths: pl.Series, folder: str) -> dict[str, list[str]]:
    """Return the files beside photos that say something of them, by the path of the photo.

    Args:
        paths: of photos, relative to ``folder``.
        folder: where the paths start; "" is the current one.
    """
    prefix = f"{folder}/" if folder else ""
    listed = list_folders((prefix + paths).str.extract("^(.*)/").unique())
    beside = {path.lower(): path for path in listed.filter(listed.str.contains(r"(?i)\.(xmp|json)$"))}
    if not beside:
        return {}
    found = {}
    for path in paths:
        key = f"{prefix}{path}".lower()
        names = (key.rpartition(".")[0] + ".xmp", f"{key}.xmp", *(key + end for end in PHOTOS_OF_GOOGLE))
        if files := [beside[name] for name in names if name in beside]:
            found[path] = files
    return found


def read_sidecars(files: Iterable[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the XMP files beside a photo say of it, and what Google's do; see ``read_xmp``."""
    said: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for file in files:
        with suppress(OSError, ValueError, RecursionError, AttributeError):
            content = read_bytes(file, 1_000_000)
            is_json = file.lower().endswith(".json")
            found = _read_google(json.loads(content)) if is_json else read_xmp(content)
            said[is_json].update({name: value for name, value in found.items() if name not in said[is_json]})
    return said


def read_xmp(content: bytes | str | None) -> dict[str, Any]:
    """Return what XMP says: latitude, longitude and what gave them, heading and its reference, ``times`` as texts.

    Its properties are elements or attributes, and in either form they are read without building a tree.
    """
    text = content.decode("utf-8", errors="replace") if isinstance(content, bytes) else content or ""
    said = dict(re.findall(PROPERTY, text))
    found: dict[str, Any] = {}
    latitude, longitude = (_read_angle(said.get(f"GPS{axis}", "")) for axis in ("Latitude", "Longitude"))
    if latitude is not None and longitude is not None:
        found |= {"latitude": latitude, "longitude": longitude}
        if "GPSProcessingMethod" in said:
            found["method"] = said["GPSProcessingMethod"]
    heading = re.fullmatch(r"(\d+(?:\.\d+)?)(?:/(\d+))?", said.get("GPSImgDirection", ""))
    if heading and float(heading[2] or 1):
        degrees = float(heading[1]) / float(heading[2] or 1)
        if degrees <= 360:
            reference = {"T": "true", "M": "magnetic"}.get(said.get("GPSImgDirectionRef", "")[:1].upper())
            found |= {"heading": degrees % 360, "heading_reference": reference}
    if times := [said[name] for name in XMP_TIMES if name in said]:
        found["times"] = times
    return found


def _read_angle(text: str) -> float | None:
    """Return an angle written ``59,19.764N`` or ``59,19,46S``; None where it is none."""
    parts = re.fullmatch(r"(\d+)(?:,(\d+(?:\.\d+)?))?(?:,(\d+(?:\.\d+)?))?\s*([NSEW])", text)
    if not parts:
        with suppress(ValueError):  # some programs write plain degrees
            return float(text) if math.isfinite(float(text)) else None
        return None
    degrees = int(parts[1]) + float(parts[2] or 0) / 60 + float(parts[3] or 0) / 3600
    return -degrees if parts[4] in "SW" else degrees


def _read_google(content: dict[str, Any]) -> dict[str, Any]:
    """Return what an export of Google Photos says of a photo."""
    found: dict[str, Any] = {}
    for name in ("geoData", "geoDataExif"):
        place = content.get(name) or {}
        latitude, longitude = place.get("latitude"), place.get("longitude")
        if "latitude" not in found and latitude and longitude:  # zeros where it does not know
            found |= {"latitude": float(latitude), "longitude": float(longitude)}
    if moment := (content.get("photoTakenTime") or {}).get("timestamp"):
        found["times"] = [str(moment)]
    return found
