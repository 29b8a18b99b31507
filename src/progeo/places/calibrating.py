"""Learning from labelled queries how sure the estimates of a database are."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from progeo.data.frames import read_points, take_placed
from progeo.data.sphere import measure_distances
from progeo.errors import ProgeoError
from progeo.locating.calibration import (
    Calibration,
    check_enough,
    cross_validate,
    fit_calibration,
    measure_calibration_error,
)
from progeo.locating.evidence import RIGHT_WITHIN, weigh_evidence
from progeo.places import objects
from progeo.places.photos import PhotoSet, format_failures
from progeo.search.methods import AUTO
from progeo.search.rerank import Reranker
from progeo.search.verifier import CANDIDATES

if TYPE_CHECKING:
    from progeo.places.database import PlaceDatabase

logger = logging.getLogger("progeo")


@dataclass(frozen=True)
class CalibrationReport:
    """A calibration, and how good it is."""

    calibration: Calibration
    right: int
    """Of its queries, how many were located within 25 m."""
    error: float
    """Mean difference of stated and true probability, 0 to 1, on queries that were not learned from."""
    error_of_agreement: float
    """The same where the agreement of the matches is taken for a probability."""
    error_before: float
    """The same by the calibration that the database had, or has learned by itself."""
    source_before: str
    """What that one was learned from."""
    kept: bool
    """Whether the new one is used from now on: not where the one before was better."""


def calibrate(
    database: PlaceDatabase,
    queries: PhotoSet,
    say: Callable[[str], object] = logger.warning,
    rerank: Reranker | str = AUTO,
    *,
    candidates: int = CANDIDATES,
    cache_folder: str | Path | None = None,
) -> CalibrationReport:
    """Learn a calibration from photos of known position, and keep it with the database unless the one before is better.

    Args:
        database: whose estimates are judged.
        queries: of ``read_photo_set``.
        say: is told what is left out.
        rerank: how estimates will be re-ranked: a reranker, or the name of one.
        candidates: of ``PlaceDatabase.create_reranker``.
        cache_folder: likewise.

    Raises:
        ProgeoError: there are too few queries with a position that are no photos of the database itself.
    """
    failed = dict(queries.failed)
    table = take_placed(queries.table, database.frame, failed)
    if table.is_empty():
        raise ProgeoError(f"No query has a position, {format_failures(failed)}")
    database.check_ready()
    readable = [path for path in table["path"] if objects.is_readable(path)]
    stored = database.find_stored(readable)
    if stored:
        say(f"Left out: {len(stored)} photos that the database holds, since they would find themselves")
    table = table.filter(~pl.col("path").is_in(list(stored)))
    described: dict[str, NDArray[np.float32]] = {}
    if len(table):
        check_enough(len(table))
        described, failures = database.encoder.encode_readable(table["path"].to_list())
        failed |= failures
    if failed:
        say(f"Left out: {format_failures(failed)}")
    table = table.filter(pl.col("path").is_in(list(described)))
    if table.is_empty():
        raise ProgeoError(
            "No query can be used: each is damaged or a photo of the database itself. Give others of known position, "
            "taken at other times."
        )
    check_enough(len(table))
    paths = table["path"].to_list()
    if isinstance(rerank, str):
        rerank = database.create_reranker(rerank, candidates=candidates, cache_folder=cache_folder)
    matches = database.search(
        np.stack([described[path] for path in paths]),
        queries=[partial(database.encoder.read, path) for path in paths],
        rerank=rerank,
    )
    evidence = [weigh_evidence(of_query) for of_query in matches]
    truth = read_points(table.select(database.frame))
    errors = measure_distances(np.stack([item.point for item in evidence]), truth)
    before = database.calibration or database.calibrate()
    inside = find_inside(database, truth)
    calibration = replace(fit_calibration(evidence, errors, inside, before), photos=len(database))
    right = errors <= RIGHT_WITHIN
    probabilities, _, _ = cross_validate(evidence, errors, inside, before)
    error = measure_calibration_error(probabilities, right)
    error_before = measure_calibration_error(before.judge(evidence)[0], right)
    if error <= error_before:
        database.store_calibration(calibration)
    agreement = np.array([item.agreement for item in evidence])
    return CalibrationReport(
        calibration,
        int(right.sum()),
        error,
        measure_calibration_error(agreement, right),
        error_before,
        before.source,
        kept=error <= error_before,
    )


def find_inside(database: PlaceDatabase, truth: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which points (Q, 3) have a photo of the database within 25 metres (Q,)."""
    from scipy.spatial import cKDTree

    distances, _ = cKDTree(read_points(database.positions())).query(truth)
    inside: NDArray[np.bool_] = distances <= RIGHT_WITHIN
    return inside
