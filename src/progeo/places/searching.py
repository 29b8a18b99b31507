"""The search among the photos of a place database."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

MATCH_COLUMNS = ["id", "path", "latitude", "longitude", "heading", "timestamp"]

PARTITIONS_SEARCHED = 100
"""Of the approximate index. Among a million photos 20 missed one first photo in six: see ``benchmarks/places.py``."""
CANDIDATES = 60
"""Photos that the approximate index proposes; they are compared by their full descriptors."""


def find_matches(
    photos: Any, descriptor: NDArray[np.float32], k: int, condition: str | None, exact: bool
) -> pl.DataFrame:
    """Return the ``k`` photos nearest to a descriptor (D,), as ``PlaceDatabase.search`` gives them.

    Args:
        photos: the Lance table.
        descriptor: float32 (D,).
        k: how many.
        condition: of SQL, that the photos must fulfil.
        exact: leave the approximate index aside.
    """
    query = photos.search(descriptor, vector_column_name="descriptor").distance_type("l2").limit(k)
    query = query.nprobes(PARTITIONS_SEARCHED).refine_factor(max(1, CANDIDATES // k))
    if condition:
        # No limit to the partitions: the few photos that fit may be in any.
        query = query.where(condition, prefilter=True).maximum_nprobes(0)
    if exact:
        query = query.bypass_vector_index()
    found = pl.DataFrame(query.select([*MATCH_COLUMNS, "_distance"]).to_arrow())
    # Lance gives squared distances; rounding can leave one just below zero.
    distance = pl.col("_distance").cast(pl.Float64).clip(lower_bound=0).sqrt()
    return found.select(*MATCH_COLUMNS, descriptor_distance=distance)
