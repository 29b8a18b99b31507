"""Photos that cannot be used, set aside by readers that are asked to go on where they would stop otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import polars as pl

from progeo.console import format_count
from progeo.errors import ProgeoError


@dataclass(frozen=True)
class Fault:
    """A photo that cannot be used, and why."""

    path: str
    kind: Literal["position", "file", "row"]
    """It has no possible position; its row names no file; it has no row in the manifest or the table of its set."""
    problem: str


Faults = list[Fault]


def set_aside(
    table: pl.DataFrame, problem: pl.Series, kind: Literal["position", "file"], faults: Faults
) -> pl.DataFrame:
    """Move the rows with a problem to ``faults`` and return the others.

    Raises:
        ProgeoError: no row is left.
    """
    wrong = problem.is_not_null()
    found = [
        Fault(path, kind, text) for path, text in zip(table["path"].filter(wrong), problem.filter(wrong), strict=True)
    ]
    if found and wrong.all():
        photos = format_count(len(table), "photo")
        raise ProgeoError(f"Not one of {photos} can be used, first {found[0].path}: {found[0].problem}.")
    faults += found
    return table.filter(~wrong)
