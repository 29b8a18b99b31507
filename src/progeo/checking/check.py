"""What is in a set of photos, and what should be mended before it is used."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from progeo.checking.classes import estimate_training_memory, estimate_training_time
from progeo.checking.result import Result, examine
from progeo.data.faults import Faults
from progeo.data.table import read_photos
from progeo.data.tools.looks import read_looks


def check_photos(
    source: str,
    *,
    columns: str | Mapping[str, str] | None = None,
    heading_from: str | None = None,
    positive_dist_threshold: float = 25,
    num_workers: int | None = None,
) -> Result:
    """Read a set as ``read_photos`` does, look at every photo, and estimate what training with it takes.

    Raises:
        ProgeoError: the set cannot be read at all.
    """
    faults: Faults = []
    table = read_photos(source, columns=columns, heading_from=heading_from, one_plane=None, faults=faults)
    result = examine(source, table, faults, read_looks(table["path"], num_workers), positive_dist_threshold)
    if best := result.recommendation:
        memory, time = estimate_training_memory(best.largest_group), estimate_training_time(best.steps)
        result = dataclasses.replace(result, memory=memory, time=time)
    return result
