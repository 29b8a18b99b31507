"""Located photos as CSV, one line a photo; what is not known is empty."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from progeo.locating.estimate import Located

COLUMNS = (
    *("photo", "known", "latitude", "longitude", "radius_metres", "probability", "calibrated"),
    *("match", "match_latitude", "match_longitude", "match_distance_metres", "match_descriptor_distance"),
    *("agreement", "presence", "calibration", "heading"),
)


def write_csv(results: Sequence[Located], file: TextIO | None = None) -> None:
    """Write the results, with the first match of each, to a file or else to stdout; x and y in a local frame."""
    writer = csv.writer(file or sys.stdout, lineterminator="\n")
    is_local = any(result.estimate.is_local for result in results)
    writer.writerow(name.replace("latitude", "x").replace("longitude", "y") if is_local else name for name in COLUMNS)
    writer.writerows(make_line(result) for result in results)


def make_line(result: Located) -> list[Any]:
    """Return the COLUMNS of a result; the match is the first."""
    estimate, match = result.estimate, result.estimate.matches[0]
    position = estimate.position or (None, None)
    return [
        *(result.path, estimate.known, *position, estimate.radius_metres),
        *(estimate.probability, estimate.calibrated),
        *(match.path, *match.position, match.distance_metres, match.descriptor_distance),
        *(estimate.agreement, estimate.presence, estimate.calibration, estimate.heading),
    ]
