"""Tracks of GPS receivers: where one was at any moment, between the points that were recorded."""

from __future__ import annotations

import codecs
import logging
import math
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import zip_longest
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import polars as pl

from progeo.console import format_count
from progeo.data.geodesy import Floats, Zone, describe_impossible, find_zone_numbers, to_latitude_longitude, to_utm
from progeo.data.timestamps import normalise_timestamps, parse_timestamps
from progeo.data.track import LONGEST_STEP_METRES, LONGEST_STEP_SECONDS
from progeo.errors import ProgeoError
from progeo.files import read_bytes

logger = logging.getLogger("progeo")

Point = tuple[str | None, float | None, float | None]  # time, latitude, longitude


@dataclass(frozen=True)
class Track:
    """The points of a track in the order of time, on the plane of one UTM zone."""

    seconds: Floats
    """(P,) since 1970, ascending."""
    positions: Floats
    """(P, 2), east and north in metres."""
    zone: Zone

    def locate(self, seconds: Floats) -> Floats:
        """Return the positions (N, 2) at some moments (N,), on the straight line from point to point.

        NaN before the start, after the end, and where two points are too far apart in space or time to be joined.
        """
        positions = np.stack([np.interp(seconds, self.seconds, values) for values in self.positions.T], axis=1)
        after = np.clip(np.searchsorted(self.seconds, seconds), 1, len(self.seconds) - 1)
        length = np.hypot(*(self.positions[after] - self.positions[after - 1]).T)
        duration = self.seconds[after] - self.seconds[after - 1]
        is_gap = (length > LONGEST_STEP_METRES) | (duration > LONGEST_STEP_SECONDS)
        is_gap &= seconds < self.seconds[after]  # the point behind a gap is known
        is_outside = (seconds < self.seconds[0]) | (seconds > self.seconds[-1])
        return np.where((is_gap | is_outside)[:, None], np.nan, positions)

    def to_degrees(self, positions: Floats) -> tuple[Floats, Floats]:
        """Return latitude and longitude of positions (N, 2)."""
        return to_latitude_longitude(positions[:, 0], positions[:, 1], self.zone)


def read_track(path: Path) -> Track:
    """Read the timed points of a GPX, KML, TCX or NMEA file; times without a zone are taken as UTC.

    Points that are no place are left out and counted in the log, so that a bad one costs only itself.

    Raises:
        ProgeoError: the file is missing, is of another kind, or has fewer than two points with a time.
    """
    try:
        content = read_bytes(path)
    except FileNotFoundError as error:
        raise ProgeoError(f"There is no track {path}. Check the path (the current folder is {Path.cwd()}).") from error
    except OSError as error:
        raise ProgeoError(f"{path} cannot be read as a GPX track: {error.strerror}.") from error
    points = _read_nmea(content) if content.lstrip().startswith(b"$") else _read_xml(content, path)
    table = pl.DataFrame(points, {"time": pl.String, "latitude": pl.Float64, "longitude": pl.Float64}, orient="row")
    moments = parse_timestamps(normalise_timestamps(pl.col("time"))).dt.epoch("us") / 1e6
    problem = describe_impossible(pl.col("latitude"), pl.col("longitude"))
    table = table.with_columns(seconds=moments, problem=problem)
    wrong = table.filter(pl.col("seconds").is_not_null() & pl.col("problem").is_not_null())
    timed = table.filter(pl.col("seconds").is_not_null() & pl.col("problem").is_null()).sort("seconds")
    timed = timed.unique("seconds", keep="last", maintain_order=True)
    if len(timed) < 2:
        why = f"; {len(wrong)} are no places, first: {wrong['problem'][0]}" if len(wrong) else ""
        raise ProgeoError(
            f"{path} has {len(table)} points, of which {len(timed)} say when they were recorded: at least two are "
            f"needed{why}. A track that was drawn on a map, or exported as a route, has no times."
        )
    if len(wrong):
        logger.warning(
            f"Left out: {len(wrong):,} of {format_count(len(table), 'point')} in {path}, first at {wrong['time'][0]}: "
            f"{wrong['problem'][0]}"
        )
    latitude, longitude = timed["latitude"].to_numpy(), timed["longitude"].to_numpy()
    # The zone of most points, for all of them: only steps from one to the next are measured.
    zone = Zone(int(np.bincount(find_zone_numbers(latitude, longitude)).argmax()), bool(np.median(latitude) >= 0))
    return Track(timed["seconds"].to_numpy(), np.stack(to_utm(latitude, longitude, zone), axis=1), zone)


def _read_xml(content: bytes, path: Path) -> list[Point]:
    """Return the points of a GPX, KML or TCX file, also of one that breaks off."""
    points: list[Point] = []
    root = None
    parser: Any = ElementTree.XMLPullParser(("start", "end"))
    try:
        parser.feed(_decode(content))
        parser.close()
        broken = None
    except ElementTree.ParseError as error:
        broken = error
    with suppress(ElementTree.ParseError):
        for event, element in parser.read_events():
            name = _local_name(element)
            root = root or name
            if event == "start":
                continue
            texts = {_local_name(child): (child.text or "").strip() for child in element.iter()}
            if root == "gpx" and name in ("trkpt", "rtept", "wpt"):
                points.append((texts.get("time"), _to_number(element.get("lat")), _to_number(element.get("lon"))))
            elif root == "TrainingCenterDatabase" and name == "Trackpoint":
                latitude, longitude = (_to_number(texts.get(f"{axis}Degrees")) for axis in ("Latitude", "Longitude"))
                points.append((texts.get("Time"), latitude, longitude))
            elif root == "kml" and name in ("Track", "Placemark"):
                times = [child.text for child in element.iter() if _local_name(child) == "when"]
                places = [
                    child.text or "" for child in element.iter() if _local_name(child) in ("coord", "coordinates")
                ]
                parts = [re.split(r"[,\s]+", place.strip()) for place in places]
                points += [
                    (time, _to_number(part[1]), _to_number(part[0]))
                    for time, part in zip_longest(times, parts, fillvalue=None)
                    if part and len(part) in (2, 3)
                ]
            if name in ("trkpt", "rtept", "wpt", "Trackpoint", "Track", "Placemark"):
                element.clear()
    if root not in ("gpx", "kml", "TrainingCenterDatabase") or (broken and not points):
        raise ProgeoError(f"{path} cannot be read as a GPX track: {_describe_kind(content, root, broken)}.")
    if broken:
        logger.warning(f"{path} breaks off or is damaged ({broken}): only the {len(points):,} points before are read")
    return points


def _read_nmea(content: bytes) -> list[Point]:
    """Return the points of the RMC sentences of a receiver's log, the ones that have the date."""
    points: list[Point] = []
    for line in content.decode("ascii", errors="replace").splitlines():
        fields = line.strip().split(",")
        if not re.fullmatch(r"\$..RMC", fields[0]) or len(fields) < 10:
            continue
        clock, status, latitude, north, longitude, east, date = (fields[k] for k in (1, 2, 3, 4, 5, 6, 9))
        if status != "A" or not re.fullmatch(r"\d{6}", date) or not re.match(r"\d{6}", clock):
            continue
        time = f"20{date[4:]}-{date[2:4]}-{date[:2]}T{clock[:2]}:{clock[2:4]}:{clock[4:]}".rstrip(".") + "Z"
        degrees = [
            math.copysign(int(value // 100) + value % 100 / 60, -1 if side in "SW" else 1)
            for value, side in ((_to_number(latitude), north), (_to_number(longitude), east))
        ]
        points.append((time, degrees[0], degrees[1]) if all(map(math.isfinite, degrees)) else (time, None, None))
    return points


def _decode(content: bytes) -> str:
    """Return XML as text, in the encoding that it begins with or declares, without the declaration.

    Points are in plain letters: what cannot be decoded is part of a name.
    """
    declared = re.search(rb"""^[^>]{0,200}encoding\s*=\s*["']([\w.-]+)""", content[:300])
    encoding = declared[1].decode() if declared else "utf-8"
    for start, name in ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"), (b"<\0", "utf-16-le"),
                        (b"\0<", "utf-16-be"), (codecs.BOM_UTF8, "utf-8-sig")):  # fmt: skip
        if content.startswith(start):
            encoding = name
    try:
        text = content.decode(encoding, errors="replace")
    except LookupError:  # there is no encoding of that name
        text = content.decode(errors="replace")
    return re.sub(r"^\s*<\?xml[^>]*\?>", "", text)


def _describe_kind(content: bytes, root: str | None, broken: Exception | None) -> str:
    """Say what a file is that is no track, and what to do."""
    if content[8:12] == b".FIT":
        return "it is a FIT file; export it as GPX"
    if content.startswith(b"PK"):
        return "it is an archive; unpack it (a KMZ holds a KML)"
    if root:
        return f"it is XML of another kind (<{root}>); it must be GPX, KML, TCX or NMEA"
    return f"it must be GPX, KML, TCX or NMEA ({broken})"


def _local_name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _to_number(text: str | None) -> float:
    """Return a number, NaN where it is none."""
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def to_seconds(moment: datetime) -> float:
    """Return the seconds since 1970 of a moment, which is in UTC where it does not say otherwise."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def format_moment(seconds: float) -> str:
    """Return a moment in ISO 8601, in UTC and to a millisecond."""
    moment = datetime.fromtimestamp(round(seconds, 3), tz=timezone.utc)
    return moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds").replace("+00:00", "Z")
