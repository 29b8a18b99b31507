"""What is said of a calibration, wherever a probability stands."""

from __future__ import annotations

from collections.abc import Iterable

from progeo.locating.estimate import Estimate

SOURCES = {
    "queries": "learned from photos of known position",
    "database": "learned from the database's own photos; progeo calibrate, with others, does it better",
    "default": "of a default calibration, as the database has too few places to learn from",
}
UNCALIBRATED = (
    "This database is not calibrated: the agreement is the matches' share of the vote, and how often such estimates "
    "are right is not known. progeo index learns it by itself."
)


def describe_calibration(estimates: Iterable[Estimate]) -> str:
    """Return one sentence on what the probabilities of a database's estimates are worth."""
    source = next((estimate.calibration for estimate in estimates if estimate.calibration), None)
    return UNCALIBRATED if source is None else f"Probability: of being right within 25 m, {SOURCES[source]}."
