"""AmsterTime: ``new`` photos and ``old`` ones of the same places, in pairs of one file name.

Source: the paper (arXiv 2203.16291) and the archive as VPR-datasets-downloader reads it.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from progeo.console import format_count
from progeo.data.faults import Faults, set_aside
from progeo.errors import ProgeoError

NAME = "AmsterTime"
ROLES = {"new": "database", "old": "queries"}
METRES_BETWEEN_PLACES = 100.0
"""Positions are made up: the places' own are not published."""


def find(folder: Path) -> list[Path]:
    """Return the folders of the two halves."""
    halves = [folder / name for name in ROLES]
    return halves if all(half.is_dir() for half in halves) else []


def read(relative_paths: pl.Series, folder: Path, faults: Faults | None) -> pl.DataFrame:
    """Return the pairs; ``place`` is what both photos of one are called.

    Raises:
        ProgeoError: a photo has no other half.
    """
    parts = relative_paths.str.extract_groups(r"^(new|old)/(.*)\.\w+$").struct
    table = pl.DataFrame({"path": relative_paths, "half": parts.field("1"), "place": parts.field("2")})
    table = table.filter(pl.col("half").is_not_null())
    is_alone = pl.col("half").n_unique().over("place") == 1
    alone = table.filter(is_alone)
    if faults is not None:
        problem = table.select(pl.when(is_alone).then(pl.lit("there is no photo of its name in the other half")))
        table = set_aside(table, problem.to_series(), "position", faults)
    elif len(alone):
        other = "old" if alone["half"][0] == "new" else "new"
        raise ProgeoError(
            f"{format_count(len(alone), 'photo')} of AmsterTime without the other half, first "
            f"{folder / alone['path'][0]}: there is no photo of that name in {folder / other}. Please "
            "unpack the archive again."
        )
    return table.select(
        "path",
        "place",
        utm_east=pl.lit(0.0),
        utm_north=pl.col("place").rank("dense").cast(pl.Float64) * METRES_BETWEEN_PLACES,
        role=pl.col("half").replace_strict(ROLES),
    )
