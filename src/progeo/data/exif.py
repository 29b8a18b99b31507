"""Where, which way and when a photo was taken, from what the camera wrote into it (EXIF 2.32, section 4.6).

Read are GPSLatitude and GPSLongitude with their hemispheres, GPSImgDirection with its reference (true or magnetic
north; magnetic headings are not corrected, they are off by the declination of the place), and the time with its
fraction of a second and its offset from UTC: DateTimeOriginal, or else DateTimeDigitized, DateTime, the GPS's time.
What is missing is taken from XMP and from files beside the photo (``xmp``).

A position whose GPSProcessingMethod is ``progeo`` is an estimate that was written back into the photo: no measurement,
and so none that anything may be learned from.
"""

from __future__ import annotations

import math
import re
from typing import Any

import polars as pl
from PIL import ExifTags

from progeo.console import progress_bar
from progeo.data.geodesy import describe_impossible
from progeo.data.listing import UNREADABLE
from progeo.data.timestamps import IS_NORMAL, normalise_timestamps
from progeo.data.xmp import find_sidecars, read_sidecars, read_xmp
from progeo.pixels.decoding import open_image
from progeo.pixels.prefetch import read_ahead

GPS, BASE = ExifTags.GPS, ExifTags.Base
TIMES = (
    (BASE.DateTimeOriginal, BASE.SubsecTimeOriginal, BASE.OffsetTimeOriginal),
    (BASE.DateTimeDigitized, BASE.SubsecTimeDigitized, BASE.OffsetTimeDigitized),
    (BASE.DateTime, BASE.SubsecTime, BASE.OffsetTime),
)
"""Where a time stands, its fraction of a second and its offset from UTC; first what says best when."""
ESTIMATED = "its position is an estimate that progeo wrote, and no measurement"
METHOD = "progeo"
EXIF_COLUMNS = {
    "path": pl.String(),
    "latitude": pl.Float64(),
    "longitude": pl.Float64(),
    "heading": pl.Float64(),
    "heading_reference": pl.String(),
    "timestamp": pl.String(),
    "unread_time": pl.String(),
    "problem": pl.String(),
}


def read_exif(
    paths: pl.Series, folder: str = "", *, num_workers: int | None = None, description: str | None = None
) -> pl.DataFrame:
    """Read position, heading and time of photos.

    Args:
        paths: the files, JPEG, PNG, WebP or HEIC, relative to ``folder``.
        folder: where the paths start.
        num_workers: reading threads.
        description: what a progress bar speaks of; without it none is shown.

    Returns:
        One row per path, with the columns of EXIF_COLUMNS: latitude and longitude in degrees, heading in degrees
        clockwise from north, ``heading_reference`` "true" or "magnetic", ``timestamp`` in ISO 8601. What a photo does
        not say is null; ``unread_time`` is a time that is not understood, ``problem`` says why there is no position.
    """

    sidecars = find_sidecars(paths, folder)

    def read(path: str) -> dict[str, Any]:
        return {"path": path, **_read_photo(f"{folder}/{path}" if folder else path, sidecars.get(path, []))}

    rows = []
    with progress_bar(disable=description is None) as bar:
        task = bar.add_task(description or "", total=len(paths))
        for row in read_ahead(read, paths, num_workers=num_workers):
            rows.append(row)
            bar.advance(task)
    problem = describe_impossible(pl.col("latitude"), pl.col("longitude"))
    schema = {**EXIF_COLUMNS, "times": pl.List(pl.String)}
    table = pl.DataFrame(rows, schema=schema).with_columns(problem=pl.col("problem").fill_null(problem))
    table = table.with_columns(_choose_time(table["times"])).drop("times")
    is_located = pl.col("problem").is_null()
    return table.with_columns(pl.when(is_located).then(name).alias(name) for name in ("latitude", "longitude"))


def _read_photo(path: str, sidecars: list[str]) -> dict[str, Any]:
    """Return what one photo says, under the names of EXIF_COLUMNS.

    An editor's file beside it goes before its EXIF data; then come Google's file beside it, and XMP within it.
    """
    try:
        with open_image(path) as image:
            exif = image.getexif()
            gps, details = exif.get_ifd(ExifTags.IFD.GPSInfo), exif.get_ifd(ExifTags.IFD.Exif)
            packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or exif.get(BASE.XMLPacket)
    except Exception as error:  # on damaged files Pillow raises nearly everything
        return {"problem": f"{UNREADABLE}: {error}"}
    edited, exported = read_sidecars(sidecars)
    heading = _read_number(gps.get(GPS.GPSImgDirection))
    written: dict[str, Any] = {"times": _read_times({**exif, **details}, gps), **_read_position(gps)}
    if heading is not None and 0 <= heading <= 360:
        written["heading"] = heading % 360
    reference = {"T": "true", "M": "magnetic"}.get(_read_text(gps.get(GPS.GPSImgDirectionRef)).upper())
    found: dict[str, Any] = {"times": [], "heading_reference": reference}
    is_estimated = False
    for said in (edited, written, exported, read_xmp(packet)):
        if "latitude" in said and said.get("method") == METHOD:
            is_estimated = True
        elif "latitude" in said and "latitude" not in found:
            found |= {name: said[name] for name in ("latitude", "longitude")}
        if "heading" in said and "heading" not in found:
            found |= {name: said[name] for name in ("heading", "heading_reference") if name in said}
        found["times"] += said.get("times", [])
    found["times"] = found["times"] or [None]  # as an empty list would be no row when the lists are laid out
    if "latitude" in found:
        return found
    return {**found, "problem": ESTIMATED if is_estimated else written["problem"]}


def _read_position(gps: dict[int, Any]) -> dict[str, Any]:
    """Return latitude and longitude as EXIF says them, or else the problem with them."""
    latitude, longitude = _read_degrees(gps.get(GPS.GPSLatitude)), _read_degrees(gps.get(GPS.GPSLongitude))
    if latitude is None or longitude is None:
        return {"problem": "it holds no GPS position"}
    signs = [
        {positive: 1, negative: -1}.get(_read_text(gps.get(tag)).upper()[:1], -1 if degrees < 0 else None)
        for degrees, tag, positive, negative in (
            (latitude, GPS.GPSLatitudeRef, "N", "S"),
            (longitude, GPS.GPSLongitudeRef, "E", "W"),
        )
    ]
    if signs[0] is None or signs[1] is None:
        return {"problem": "its GPS position does not say north or south, east or west"}
    if (latitude < 0 < signs[0]) or (longitude < 0 < signs[1]):
        return {"problem": "its latitude or longitude contradicts N, S, E or W"}
    method = _read_text(gps.get(GPS.GPSProcessingMethod)).removeprefix("ASCII").strip("\0 ")
    return {"latitude": signs[0] * abs(latitude), "longitude": signs[1] * abs(longitude), "method": method}


def _read_degrees(value: Any) -> float | None:
    """Return degrees, minutes and seconds as degrees; the minutes or seconds may be left out."""
    parts = [_read_number(part) for part in value] if isinstance(value, tuple) else [_read_number(value)]
    if not 1 <= len(parts) <= 3 or parts[0] is None:
        return None
    degrees = math.fsum(abs(part or 0.0) / 60**power for power, part in enumerate(parts))
    return -degrees if any((part or 0.0) < 0 for part in parts) else degrees


def _read_number(value: Any) -> float | None:
    """Return a rational of EXIF as a number; None where it is none, as 0/0 is."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None


def _read_text(value: Any) -> str:
    """Return a text of EXIF, which some cameras write as bytes and fill with zeros."""
    text = value.decode("latin-1") if isinstance(value, bytes) else value if isinstance(value, str) else ""
    return text.strip("\0 ")


def _read_times(tags: dict[int, Any], gps: dict[int, Any]) -> list[str]:
    """Return what a photo says of its time, the best first; clocks that were never set write zeros or blanks."""
    times = []
    for time, fraction, offset in TIMES:
        text = _read_text(tags.get(time)).strip()
        if not re.search("[1-9]", text):
            continue
        digits = re.match(r"\d+", _read_text(tags.get(fraction)))
        if digits and re.search(r":\d\d$", text):
            text += f".{digits[0]}"
        zone = _read_text(tags.get(offset))
        is_zone = re.fullmatch(r"[+-]\d\d:\d\d|Z", zone) and not re.search(r"[+-]\d\d:?\d\d$|[zZTC]$", text)
        times.append(text + (zone if is_zone else ""))
    date, clock = _read_text(gps.get(GPS.GPSDateStamp)), gps.get(GPS.GPSTimeStamp)
    parts = [_read_number(part) for part in clock] if isinstance(clock, tuple) else []
    if len(parts) == 3 and None not in parts and re.search("[1-9]", date):
        hour, minute, second = (part or 0.0 for part in parts)
        times.append(f"{date} {hour:02.0f}:{minute:02.0f}:{second:06.3f}Z".replace(".000Z", "Z"))
    return times


def _choose_time(times: pl.Series) -> list[pl.Series]:
    """Return the first time of each photo that is understood, and the first text of those that have none."""
    rows = pl.DataFrame({"row": range(len(times)), "text": times}).explode("text")
    rows = rows.with_columns(time=normalise_timestamps(pl.col("text")))
    rows = rows.with_columns(time=pl.when(pl.col("time").str.contains(IS_NORMAL)).then("time"))
    chosen = rows.group_by("row", maintain_order=True).agg(
        timestamp=pl.col("time").drop_nulls().first(), text=pl.col("text").first()
    )
    return chosen.select("timestamp", unread_time=pl.when(pl.col("timestamp").is_null()).then("text")).get_columns()
