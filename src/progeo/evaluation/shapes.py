"""Photos of a test set that no model is asked about: of extreme shape, or larger than can be decoded."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from functools import partial

import polars as pl

from progeo.console import format_count
from progeo.errors import ProgeoError
from progeo.evaluation.evaluation_set import EvaluationSet
from progeo.pixels.prefetch import read_ahead
from progeo.pixels.recipe import Preprocessing, find_excess


def leave_out_extreme(
    evaluation_set: EvaluationSet,
    database: Collection[Preprocessing],
    queries: Collection[Preprocessing],
    *,
    num_workers: int | None = None,
) -> tuple[EvaluationSet, list[str]]:
    """Return a test set without the photos that are over a limit of size or shape, and what is to be said of these.

    Only the head of each file is read. An evaluation by a protocol is not the official one without them.

    Args:
        evaluation_set: the set.
        database: how each model reads the photos of the database.
        queries: how each model reads the queries.
        num_workers: reading threads.

    Raises:
        ProgeoError: no photo of the database or no query is left.
    """
    left_out, remarks, tables = [], [], []
    for part, table, wanted in (
        ("database", evaluation_set.database, database),
        ("queries", evaluation_set.queries, queries),
    ):
        find = partial(find_excess, wanted=set(wanted))
        reasons = pl.Series(read_ahead(find, table["path"].to_list(), num_workers=num_workers), dtype=pl.String)
        tables.append(table.filter(reasons.is_null()))
        found = reasons.drop_nulls()
        if len(found):
            left_out.append(
                f"{format_count(len(found), 'photo')} of the {part} left out, over a limit of size or shape"
            )
            remarks.append(f"{left_out[-1]}. First: {found[0]}")
        if tables[-1].is_empty():
            raise ProgeoError(f"No photo of the {part} of {evaluation_set.folder} is within the limits. {found[0]}")
    if evaluation_set.protocol:
        evaluation_set = dataclasses.replace(evaluation_set, differences=[*evaluation_set.differences, *left_out])
    return dataclasses.replace(evaluation_set, database=tables[0], queries=tables[1]), remarks
