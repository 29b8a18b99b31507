"""Photos taken one after the other along a path: what fits together in space and time counts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from progeo.data.exif import read_exif
from progeo.data.file_names import FILE_NAME_FIELDS
from progeo.data.frames import read_points
from progeo.data.sphere import measure_distances
from progeo.data.timestamps import normalise_timestamps, parse_timestamps
from progeo.locating.evidence import RIGHT_WITHIN, measure_nearness, read_distances, weigh_matches

Floats = NDArray[np.float64]

SLACK = 2 * RIGHT_WITHIN
"""Metres by which two photos may be farther apart than the speed allows, as matches only lie near their queries."""
COST_OF_SKIPPING = 4.0
"""Leaving out a photo costs as much as a match with a share of the vote of e to minus this."""
MOST_SKIPPED = 30
UNKNOWN_INTERVAL = 1.0


def read_times(paths: Sequence[str]) -> list[datetime | None]:
    """Return when each photo was taken, to the second, as its file name or else its EXIF data says."""
    number = 1 + list(FILE_NAME_FIELDS).index("timestamp")
    fields = pl.Series("timestamp", [Path(path).name for path in paths], dtype=pl.String).str.split("@")
    in_names = fields.list.get(number, null_on_oob=True).replace("", None)
    texts = in_names.fill_null(read_exif(pl.Series("path", paths, dtype=pl.String))["timestamp"])
    moments = parse_timestamps(normalise_timestamps(pl.col("timestamp")))
    return texts.to_frame().select(moments).to_series().to_list()


def measure_intervals(times: Sequence[datetime | None]) -> Floats:
    """Return the seconds between each photo and the one before, (T,), the first 0; one second where that is unknown."""
    seconds = [0.0]
    for before, after in pairwise(times):
        interval = (after - before).total_seconds() if before and after else 0.0
        # Many times are mere days: then photos do not advance at all.
        seconds.append(interval if interval > 0 else UNKNOWN_INTERVAL)
    return np.array(seconds[: len(times)])


def find_path(matches: Sequence[pl.DataFrame], intervals: Floats, max_speed: float) -> Floats:
    """Find the likeliest path through the matches of photos that were taken one after the other (Viterbi).

    Each photo is at one of its matches, or left out at a cost where none fits, and then lies on the line between its
    neighbours on the path.

    Args:
        matches: of each photo in its order, as ``PlaceDatabase.search`` gives them.
        intervals: (T,) seconds since the photo before.
        max_speed: metres per second between photos on the path.

    Returns:
        (T, 3) points in metres, as of ``read_points``, one for each photo.
    """
    points = [read_points(table) for table in matches]
    votes = [count_votes(read_distances(table), at) for table, at in zip(matches, points, strict=True)]
    clock = np.cumsum(intervals)
    scores: list[Floats] = []
    origins: list[list[tuple[int, int] | None]] = []
    for now in range(len(matches)):
        # A path may start here, with all photos before left out.
        best = np.full(len(votes[now]), -COST_OF_SKIPPING * now)
        origin: list[tuple[int, int] | None] = [None] * len(best)
        for before in range(max(0, now - MOST_SKIPPED - 1), now):
            allowed = max_speed * (clock[now] - clock[before]) + SLACK
            reachable = measure_distances(points[now][:, None], points[before]) <= allowed
            arriving = np.where(reachable, scores[before], -np.inf) - COST_OF_SKIPPING * (now - before - 1)
            choice = arriving.argmax(axis=1)
            reached = arriving[np.arange(len(choice)), choice]
            for row in np.flatnonzero(reached > best).tolist():
                best[row], origin[row] = reached[row], (before, int(choice[row]))
        scores.append(best + votes[now])
        origins.append(origin)
    return _fill_in(_trace_back(scores, origins), points, clock)


def count_votes(distances: Floats, points: Floats) -> Floats:
    """Return the logarithm of the share of the vote (k,) that each match gets from all matches near it."""
    votes: Floats = np.log(measure_nearness(points[:, None], points) @ weigh_matches(distances))
    return votes


def _trace_back(scores: list[Floats], origins: list[list[tuple[int, int] | None]]) -> dict[int, int]:
    """Return the match of each photo on the best path; photos that are left out are not in it."""
    last = len(scores) - 1
    # Photos after the end of the path are left out too.
    now = max(range(len(scores)), key=lambda time: scores[time].max() - COST_OF_SKIPPING * (last - time))
    state: tuple[int, int] | None = (now, int(scores[now].argmax()))
    path = {}
    while state is not None:
        now, row = state
        path[now] = row
        state = origins[now][row]
    return path


def _fill_in(path: dict[int, int], points: list[Floats], clock: Floats) -> Floats:
    """Return the points of all photos; those between two on the path lie on their line, as far as time has gone."""
    on_path = sorted(path)
    corners = np.stack([points[time][path[time]] for time in on_path])
    return np.stack([np.interp(clock, clock[on_path], corners[:, axis]) for axis in range(3)], axis=1)
