"""Nordland: the same railway in four seasons, a folder of frames for each, and ``cleanImageNames.txt``.

Frame by frame the four show the same places. The list names the frames without tunnels and stops. Source: the layout
that Patch-NetVLAD's authors host, as VPR-datasets-downloader reads it.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from progeo.console import format_count
from progeo.data.faults import Fault, Faults, set_aside
from progeo.errors import ProgeoError
from progeo.files import read_text

NAME = "Nordland"
ROLES = {"summer": "database", "winter": "queries", "spring": "queries_spring", "fall": "queries_fall"}
LIST = "cleanImageNames.txt"
METRES_PER_FRAME = 25 / 10.5
"""Made-up positions, of which those within 10 frames are also those within 25 m."""


def find(folder: Path) -> list[Path]:
    """Return the list of frames, and the folders of the seasons, at least two of them."""
    seasons = [folder / season for season in ROLES if (folder / season).is_dir()]
    return [*seasons, folder / LIST] if len(seasons) > 1 else []


def read(relative_paths: pl.Series, folder: Path, faults: Faults | None) -> pl.DataFrame:
    """Return the frames of all seasons; ``frame`` counts those that are listed, or else all, from 0."""
    # Archives may bring a folder of their own: winter/winter/images-00001.png.
    season, name = (relative_paths.str.extract(pattern) for pattern in (r"^([^/]+)/", r"([^/]+)$"))
    table = pl.DataFrame({"path": relative_paths, "season": season, "name": name})
    table = table.filter(pl.col("season").is_in(list(ROLES)))
    if (folder / LIST).is_file():
        table = _take_listed(table, folder / LIST, faults)
    table = table.with_columns(number=pl.col("name").str.extract(r"(\d+)\.\w+$").cast(pl.Int64))
    unnumbered = table["number"].is_null()
    if faults is not None:
        problem = table.select(pl.when(unnumbered).then(pl.lit("no frame number at the end of its name"))).to_series()
        table = set_aside(table, problem, "position", faults)
    elif unnumbered.any():
        raise ProgeoError(f"{folder / table['path'].filter(unnumbered)[0]} has no frame number at its end.")
    frame = table["number"].rank("dense").cast(pl.Int64) - 1
    return table.select(
        "path",
        "season",
        utm_east=pl.lit(0.0),
        utm_north=frame * METRES_PER_FRAME,
        role=pl.col("season").replace_strict(ROLES),
        frame=frame,
    )


def _take_listed(table: pl.DataFrame, source: Path, faults: Faults | None) -> pl.DataFrame:
    """Return the frames that the list names.

    Raises:
        ProgeoError: a season lacks one of them, and there is no list for faults.
    """
    lines = pl.Series("name", read_text(source).split(), dtype=pl.String).unique()
    for season in table["season"].unique().sort():
        missing = lines.filter(~lines.is_in(table["name"].filter(table["season"] == season).implode())).sort()
        if faults is not None:
            faults += [Fault(f"{season}/{name}", "file", f"named in {source}") for name in missing]
        elif len(missing):
            raise ProgeoError(
                f"{len(missing):,} of {format_count(len(lines), 'frame')} that {source} names not found in "
                f"{source.parent / season}, first {missing[0]}. Please unpack the season again."
            )
    return table.filter(pl.col("name").is_in(lines.implode()))
