"""What is said of a calibration, wherever a probability stands."""

from __future__ import annotations

from collections.abc import Iterable

from progeo.locating.estimate import Estimate

SOURCES = {
    "queries": "learned from photos of known position",
    "database": "learned from the database's own photos; progeo calibrate, with others, does it better",
    "default": "of a default calibration, as the database has too few places to learn from",
}
WITHOUT_VERIFICATION = "fitted without verification: calibrate anew, and the points that agree count too"
UNCALIBRATED = (
    "This database is not calibrated: the agreement is the matches' share of the vote, and how often such estimates "
    "are right is not known. progeo index learns it by itself."
)


def describe_calibration(estimates: Iterable[Estimate]) -> str:
    """Return one sentence on what the probabilities of a database's estimates are worth."""
    calibrated = [estimate for estimate in estimates if estimate.calibration]
    if not calibrated:
        return UNCALIBRATED
    said = [SOURCES[calibrated[0].calibration or ""]]
    if any(estimate.knows_verification is False for estimate in calibrated):
        said.append(WITHOUT_VERIFICATION)
    return f"Probability: of being right within 25 m, {'; '.join(said)}."
