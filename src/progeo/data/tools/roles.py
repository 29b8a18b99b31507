"""Which photos of a part are searched in and which are looked for: database and queries."""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy.spatial import cKDTree

from progeo.data.tools.blocks import Booleans, Floats, Integers, draw_until

DRAWS = 20
ROUNDS = 5
NO_ROLE, DATABASE, QUERIES = range(3)


def find_sessions(table: pl.DataFrame) -> Integers | None:
    """Return for each photo a number of the time it was taken at: its ``sequence``, and its day (or month or year).

    None where a photo says neither, or all say the same.
    """
    day = pl.col("timestamp").str.extract(r"^(\d{4}(?:-\d\d){0,2})(?:T|$)")
    parts = [day, *([pl.col("sequence")] if "sequence" in table.columns else [])]
    known = table.select(pl.any_horizontal(part.is_not_null() for part in parts).all()).item()
    numbers = table.select(pl.struct(*parts).rank("dense")).to_series().to_numpy().astype(np.int64) - 1
    return numbers if known and numbers.max() > 0 else None


def draw_roles(
    points: Floats, sessions: Integers | None, share: float, radius: float, seed: int
) -> tuple[Integers, bool]:
    """Draw queries that have a database photo within ``radius`` metres.

    Whole sessions become queries where they overlap with others, so that the photos of a query's own drive or day are
    not in the database; those of them that no other session comes near to get no role. Where that gives less than half
    of the queries wanted, single photos are drawn instead, each beside one that stays in the database.

    Args:
        points: float64 (I, 2) or (I, 3), where the photos stand, in metres, from ``read_points``.
        sessions: int64 (I,), from ``find_sessions``; None where they are not known.
        share: of the photos, to become queries.
        radius: metres within which a database photo is a positive.
        seed: what the draws follow from.

    Returns:
        int64 (I,): NO_ROLE, DATABASE or QUERIES; and whether sessions were kept together.
    """
    generator = np.random.default_rng(seed)
    wanted = share * len(points)
    if sessions is not None:
        roles = _draw_sessions(points, sessions, wanted, radius, generator)
        if (roles == QUERIES).sum() >= wanted / 2:
            return roles, True
    queries = np.zeros(len(points), bool)
    for _ in range(ROUNDS):
        rows = np.flatnonzero(~queries)
        missing = max(0, round(wanted) - int(queries.sum()))
        queries[generator.permutation(rows)[:missing]] = True
        queries &= has_positive(points, queries, radius)
    return np.where(queries, QUERIES, DATABASE), False


def _draw_sessions(
    points: Floats, sessions: Integers, wanted: float, radius: float, generator: np.random.Generator
) -> Integers:
    """Draw whole sessions as queries, several times, and return the draw with most queries that have a positive."""
    sizes = np.bincount(sessions)
    best = np.full(len(points), DATABASE)
    for _ in range(DRAWS):
        queries = draw_until(sizes, wanted, generator)[sessions]
        found = has_positive(points, queries, radius)
        if found.sum() > (best == QUERIES).sum():
            best = np.where(found, QUERIES, np.where(queries, NO_ROLE, DATABASE))
    return best


def has_positive(points: Floats, queries: Booleans, radius: float) -> Booleans:
    """Return which photos are queries with another photo that is none within ``radius`` metres, bool (I,)."""
    found = np.zeros(len(points), bool)
    if queries.any() and not queries.all():
        distances, _ = cKDTree(points[~queries]).query(points[queries])
        found[queries] = distances <= radius
    return found
