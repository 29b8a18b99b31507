"""Tracks of GPS receivers: where one was at any moment, between the points that were recorded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from progeo.data.geodesy import Floats, Zone, choose_zone, to_latitude_longitude, to_utm
from progeo.data.track import LONGEST_STEP_METRES, LONGEST_STEP_SECONDS
from progeo.errors import ProgeoError, require


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
    """Read the points of all tracks and segments in a GPX file; times without a zone are taken as UTC.

    Raises:
        ProgeoError: the file is missing, is no GPX, or has fewer than two points with a time.
    """
    gpxpy = require("gpxpy", "Reading GPX tracks")
    try:
        points = [found.point for found in gpxpy.parse(path.read_text(encoding="utf-8-sig")).get_points_data()]
    except FileNotFoundError as error:
        raise ProgeoError(f"There is no track {path}. Check the path (the current folder is {Path.cwd()}).") from error
    except (OSError, UnicodeDecodeError, gpxpy.gpx.GPXException) as error:
        raise ProgeoError(f"{path} cannot be read as a GPX track: {error}") from error
    timed = {to_seconds(point.time): point for point in points if point.time is not None}
    if len(timed) < 2:
        raise ProgeoError(
            f"{path} has {len(points)} points, of which {len(timed)} say when they were recorded: at least two are "
            "needed. A track that was drawn on a map, or exported as a route, has no times."
        )
    seconds = np.array(sorted(timed))
    latitude, longitude = (
        np.array([getattr(timed[moment], name) for moment in seconds]) for name in ("latitude", "longitude")
    )
    zone = choose_zone(latitude, longitude)
    return Track(seconds, np.stack(to_utm(latitude, longitude, zone), axis=1), zone)


def to_seconds(moment: datetime) -> float:
    """Return the seconds since 1970 of a moment, which is in UTC where it does not say otherwise."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def format_moment(seconds: float) -> str:
    """Return a moment in ISO 8601, in UTC and to a millisecond."""
    moment = datetime.fromtimestamp(round(seconds, 3), tz=timezone.utc)
    return moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds").replace("+00:00", "Z")
