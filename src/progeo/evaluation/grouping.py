"""Groups of queries by the values of a column, or by what their timestamps say: day or night, season, hour."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from progeo.errors import ProgeoError

MAX_GROUPS = 60
UNKNOWN = "unknown"
DERIVED = ("day_night", "season", "hour", "month", "year")
"""Columns that are read out of ``timestamp``, in the clock that it was written in."""

DAY_HOURS = (7, 19)
"""Day is from the first hour to the one before the second; without the position of the sun, a convention."""
SEASONS = ("winter", "spring", "summer", "autumn")


def group_queries(queries: pl.DataFrame, column: str) -> dict[str, NDArray[np.int64]]:
    """Return the rows of the queries by their value of a column, the values sorted, unknown ones last.

    Args:
        queries: image table of the queries.
        column: one of its columns, or one of DERIVED where it has no column of that name.

    Raises:
        ProgeoError: there is no such column, it is empty, or it has so many values that groups say nothing.
    """
    if column in queries.columns:
        values = queries[column]
    elif column in DERIVED:
        values = _derive(queries, column)
    else:
        names = ", ".join([*queries.columns, *(name for name in DERIVED if name not in queries.columns)])
        raise ProgeoError(f"`group_by` {column}: the queries have no such column. There are: {names}.")
    if values.is_null().all():
        needed = "timestamp" if column in DERIVED and column not in queries.columns else column
        raise ProgeoError(f"`group_by` {column}: not one of the {len(queries)} queries has a {needed}.")
    found = values.n_unique()
    if found > MAX_GROUPS:
        raise ProgeoError(
            f"`group_by` {column}: it has {found} different values among {len(queries)} queries, more than the "
            f"{MAX_GROUPS} that can be told apart. Group by a column with few values."
        )
    ordered = values.drop_nulls().unique().sort().to_list()
    groups = {str(value): np.flatnonzero((values == value).fill_null(False).to_numpy()) for value in ordered}
    unknown = np.flatnonzero(values.is_null().to_numpy())
    return groups | ({UNKNOWN: unknown} if len(unknown) else {})


def _derive(queries: pl.DataFrame, column: str) -> pl.Series:
    """Return a derived column, null where a timestamp does not say it.

    A timestamp starts like ``20190105_123000`` or ``2019-01-05T12:30:00``; what stands at its end may be missing.
    """
    needed = {"timestamp": pl.String, "latitude": pl.Float64, "utm_letter": pl.String}
    queries = queries.with_columns(
        pl.lit(None, dtype=data_type).alias(name) for name, data_type in needed.items() if name not in queries.columns
    )
    timestamp = pl.col("timestamp").cast(pl.String)
    year, month, hour = (
        timestamp.str.extract(pattern).cast(pl.Int32)
        for pattern in (
            r"^(\d{4})",
            r"^\d{4}-?(0[1-9]|1[0-2])",
            r"^\d{4}-?\d{2}-?\d{2}[_T ]?([01]\d|2[0-3])",
        )
    )
    # South of the equator by latitude or the letter of the UTM band; where neither is known, north.
    south = pl.coalesce(pl.col("latitude") < 0, pl.col("utm_letter") < "N", pl.lit(False)).cast(pl.Int32)
    is_day = hour.is_between(DAY_HOURS[0], DAY_HOURS[1] - 1)
    derived = {
        "year": year,
        "month": month,
        "hour": hour,
        "day_night": pl.when(is_day).then(pl.lit("day")).when(hour.is_not_null()).then(pl.lit("night")),
        "season": ((month % 12 // 3 + 2 * south) % 4).replace_strict(
            dict(enumerate(SEASONS)), default=None, return_dtype=pl.String
        ),
    }
    return queries.select(derived[column].alias(column)).to_series()
