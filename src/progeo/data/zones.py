"""Keeping photos of different UTM zones apart, whose coordinates have nothing to do with each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

BETWEEN_ZONES = 1e8
"""Metres put between two zones."""


def number_zones(table: pl.DataFrame) -> npt.NDArray[np.int64]:
    """Number the zones of an image table by ``utm_zone`` and hemisphere, int64 (I,): 0 for the first, and so on.

    Where the letter is not known, the hemisphere is that of the other photos in the same zone (north, where they are in
    both). Photos whose zone is not known are in the only one of the table, or else, as they cannot be compared with any
    of several, in one of their own.
    """
    is_north = pl.when(pl.col("utm_zone").is_not_null()).then(pl.col("utm_letter").str.to_uppercase() >= "N")
    zones = table.select(number="utm_zone", is_north=is_north)
    if all(column.drop_nulls().n_unique() < 2 for column in zones):
        return np.zeros(len(table), np.int64)
    zones = zones.with_columns(pl.col("is_north").fill_null(pl.col("is_north").max().over("number")))
    return zones.select(pl.struct("number", "is_north").rank("dense")).to_series().to_numpy().astype(np.int64) - 1


def read_points(table: pl.DataFrame) -> npt.NDArray[np.float64]:
    """Return where photos stand: float64 (I, 2), UTM east and north in metres; (I, 3) where they are in several zones.

    The third coordinate puts BETWEEN_ZONES metres or more between photos of different zones.
    """
    points = table.select("utm_east", "utm_north").to_numpy()
    zones = number_zones(table)
    return np.column_stack([points, zones * BETWEEN_ZONES]) if zones.any() else points
