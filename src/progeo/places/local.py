"""The local engine of indexing: plan, encode and commit in this process, with threads that read ahead."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import polars as pl

from progeo.models.encoder import Encoder
from progeo.places.commit import commit
from progeo.places.encode import AddReport, Values, encode
from progeo.places.plan import plan

SECONDS_PER_COMMIT = 10.0
PHOTOS_PER_COMMIT = 4096


def add_photos(photos: Any, table: pl.DataFrame, encoder: Encoder, address: str, report: AddReport) -> None:
    """Store what is new or has changed of an image table in a Lance table; the report counts it."""
    run(photos, plan(photos, table, report.failed, address), len(table), encoder, address, report)


def run(
    photos: Any, slices: Iterable[pl.DataFrame], total: int, encoder: Encoder, address: str, report: AddReport
) -> None:
    """Encode and commit planned slices of ``total`` photos; an interruption loses at most a few seconds of work."""
    waiting: list[Values] = []
    last_commit = time.monotonic()
    for rows in encode(slices, encoder, report, total):
        waiting += rows
        if len(waiting) >= PHOTOS_PER_COMMIT or time.monotonic() - last_commit > SECONDS_PER_COMMIT:
            report.added += commit(photos, waiting, address)
            waiting, last_commit = [], time.monotonic()
    report.added += commit(photos, waiting, address)
