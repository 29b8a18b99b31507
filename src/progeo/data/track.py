"""Headings from the course: a camera that looks ahead looks where its next photo is taken."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from progeo.data.geodesy import find_convergence
from progeo.data.timestamps import parse_timestamps
from progeo.errors import ProgeoError

Floats = npt.NDArray[np.float64]

HEADING_SOURCES = ("track",)
LONGEST_STEP_METRES = 100.0
LONGEST_STEP_SECONDS = 300.0
"""Two photos farther apart in space or time are not taken to be one after the other on the way."""
SHORTEST_STEP_METRES = 0.5
"""Shorter steps are noise of the receiver: whoever stands still keeps the heading of the last step."""


def add_headings_from_track(table: pl.DataFrame) -> pl.DataFrame:
    """Fill in missing headings with the course over ground from the photo before to the photo after, from true north.

    Photos are ordered by time, and within each ``sequence`` where the table has that column. A photo that stands alone
    keeps no heading.

    Raises:
        ProgeoError: photos without a heading have no time to the second either.
    """
    missing = table["heading"].is_null()
    if not missing.any():
        return table
    ways = table.select(
        pl.col("sequence") if "sequence" in table.columns else pl.lit("").alias("sequence"),
        "utm_east",
        "utm_north",
        seconds=parse_timestamps(pl.col("timestamp")).dt.epoch("us") / 1e6,
    ).with_row_index("row")
    untimed = ways["seconds"].is_null() & missing
    if untimed.any():
        raise ProgeoError(
            f"`heading_from` track needs the time of each photo to the second, and {untimed.sum()} of {missing.sum()} "
            f"photos without a heading have none, first {table['path'].filter(untimed)[0]}."
        )
    ways = ways.filter(pl.col("seconds").is_not_null()).sort("sequence", "seconds", "row", nulls_last=True)
    course = np.full(len(table), np.nan)
    course[ways["row"]] = find_course(
        ways.select("utm_east", "utm_north").to_numpy(),
        ways["seconds"].to_numpy(),
        (ways["sequence"] != ways["sequence"].shift(1)).fill_null(True).to_numpy(),
    )
    # The course is one on the grid, and headings count from true north; made-up coordinates have no other north.
    degrees = table.select(pl.col("latitude", "longitude", "utm_zone").cast(pl.Float64)).to_numpy()
    course = (course + np.nan_to_num(find_convergence(*degrees.T))) % 360
    return table.with_columns(heading=table["heading"].fill_null(pl.Series(course).fill_nan(None)))


def find_course(positions: Floats, seconds: Floats, starts: npt.NDArray[np.bool_]) -> Floats:
    """Return the course at each photo of one or more ways, in degrees clockwise from north.

    Args:
        positions: float (P, 2), east and north in metres, in the order of time.
        seconds: float (P,), when each photo was taken.
        starts: bool (P,), true where a new way starts.

    Returns:
        float (P,), NaN for photos without another near them in space and time.
    """
    steps = np.diff(positions, axis=0)
    length = np.hypot(*steps.T)
    follows = (length <= LONGEST_STEP_METRES) & (np.diff(seconds) <= LONGEST_STEP_SECONDS) & ~starts[1:]
    steps[~follows | (length < SHORTEST_STEP_METRES)] = 0
    edge = np.zeros((1, 2))
    moves = np.concatenate([edge, steps]) + np.concatenate([steps, edge])
    stands = np.hypot(*moves.T) < SHORTEST_STEP_METRES
    heading = pl.Series(np.degrees(np.arctan2(*moves.T)) % 360).set(pl.Series(stands), None)
    way = np.concatenate([[0], np.cumsum(~follows)])
    filled = pl.DataFrame({"way": way, "heading": heading}).select(
        pl.col("heading").forward_fill().over("way").fill_null(pl.col("heading").backward_fill().over("way"))
    )
    return filled["heading"].fill_null(np.nan).to_numpy()
