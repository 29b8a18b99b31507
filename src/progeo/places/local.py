"""The local engine of indexing: plan, encode and commit in this process, with threads that read ahead."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import polars as pl

from progeo.models.encoder import Encoder
from progeo.places.commit import Target
from progeo.places.encode import AddReport, Values, encode
from progeo.places.plan import plan

SECONDS_PER_COMMIT = 10.0
PHOTOS_PER_COMMIT = 4096


def add_photos(target: Target, table: pl.DataFrame, encoder: Encoder, report: AddReport) -> None:
    """Store what is new or has changed of an image table; the report counts it."""
    slices = plan(target.photos, table, report.failed, target.address)
    run(target.commit, slices, len(table), encoder, report)


def run(
    store: Callable[[list[Values]], int],
    slices: Iterable[pl.DataFrame],
    total: int,
    encoder: Encoder,
    report: AddReport,
) -> None:
    """Encode planned slices of ``total`` photos and store them; an interruption loses at most a few seconds of work."""
    waiting: list[Values] = []
    last_commit = time.monotonic()
    for rows in encode(slices, encoder, report, total):
        waiting += rows
        if len(waiting) >= PHOTOS_PER_COMMIT or time.monotonic() - last_commit > SECONDS_PER_COMMIT:
            report.added += store(waiting)
            waiting, last_commit = [], time.monotonic()
    report.added += store(waiting)
