"""What is in a set of photos, and what should be mended before it is used."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl

from progeo.checking.costs import describe_way_out, estimate_cost
from progeo.checking.result import Result, examine, examine_unplaced
from progeo.console import format_count
from progeo.data.faults import Faults
from progeo.data.listing import list_photos
from progeo.data.table import read_photos
from progeo.data.tools.looks import read_looks
from progeo.errors import ProgeoError
from progeo.models.backbones.create import find_backbone


def check_photos(
    source: str,
    *,
    columns: str | Mapping[str, str] | None = None,
    heading_from: str | None = None,
    positive_dist_threshold: float = 25,
    to_locate: bool = False,
    num_workers: int | None = None,
    backbone: str | None = None,
    image_size: int | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> Result:
    """Read a set as ``read_photos`` does, look at every photo, and estimate what training with it takes.

    Training is estimated with ``backbone`` at ``image_size``, or without them with those that suit the size of the set.
    ``say`` is told what takes long, before it does. Of photos ``to_locate`` nothing is learned, and they need no
    position.

    Raises:
        ProgeoError: the set cannot be read at all, or there is no such backbone.
    """
    if to_locate:
        if not Path(source).is_dir():
            raise ProgeoError(f"`to_locate` checks a folder of photos, as they are located; {source} is none.")
        paths = list_photos([source])
        say(f"Looking at {format_count(len(paths), 'photo')}")
        return examine_unplaced(source, paths, read_looks(pl.Series("path", paths), num_workers))
    if backbone:
        find_backbone(backbone)
    faults: Faults = []
    table = read_photos(source, columns=columns, heading_from=heading_from, one_plane=None, faults=faults)
    say(f"Looking at {len(table):,} photos")
    looks = read_looks(table["path"], num_workers)
    result = examine(source, table, faults, looks, positive_dist_threshold, backbone, image_size)
    if best := result.recommendation:
        cost = estimate_cost(best, say)
        way_out = describe_way_out(best) if cost.is_too_long else None
        result = dataclasses.replace(result, memory=cost.memory, time=cost.time, way_out=way_out)
    return result
