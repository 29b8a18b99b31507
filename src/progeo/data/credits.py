"""Whom to name for a photo of somebody else: author, licence, and where the photo is. It travels with the photo."""

from __future__ import annotations

from dataclasses import dataclass, fields

import polars as pl


@dataclass(frozen=True)
class Credit:
    """What a photo of an open service asks to be said of it."""

    author: str
    licence: str
    licence_url: str | None
    page_url: str | None
    """Where the photo is, for people."""
    source: str | None
    """The service."""

    def describe(self) -> str:
        """Return it as one line, ``© Toy Mapper, CC-BY-SA-4.0``."""
        return f"© {self.author}, {self.licence}"


CREDIT_COLUMNS = tuple(field.name for field in fields(Credit))
"""Columns of an image table."""
SHOT_COLUMNS = (*CREDIT_COLUMNS, "pano_id")
"""And what joins the views of one panorama."""


def complete_credits(table: pl.DataFrame) -> pl.DataFrame:
    """Return the table with all SHOT_COLUMNS, as texts; null where a photo has no author and licence to name.

    Names of panoramas count with a credit only: those in file names need not differ from place to place.
    """
    given = [name for name in SHOT_COLUMNS if name in table.columns]
    table = table.with_columns(pl.col(given).cast(pl.String, strict=False))
    table = table.with_columns(pl.lit(None, pl.String).alias(name) for name in SHOT_COLUMNS if name not in given)
    is_credited = pl.col("author").is_not_null() & pl.col("licence").is_not_null()
    return table.with_columns(pl.when(is_credited).then(pl.col(SHOT_COLUMNS)))


def read_credits(table: pl.DataFrame) -> list[Credit | None]:
    """Return what is to be said of each row; None where nothing is, or nothing is known."""
    if not {*CREDIT_COLUMNS} <= {*table.columns}:
        return [None] * len(table)
    rows = table.select(CREDIT_COLUMNS).iter_rows()
    return [Credit(*row) if row[0] is not None and row[1] is not None else None for row in rows]
