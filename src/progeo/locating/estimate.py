"""From the most similar photos to a position: a vote of those that agree on a place."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from progeo.data.credits import Credit, read_credits
from progeo.data.sphere import measure_distances, to_degrees, to_points
from progeo.errors import ProgeoError
from progeo.locating.calibration import Calibration

Floats = NDArray[np.float64]

RIGHT_WITHIN = 25.0
"""Metres within which an estimate counts as right, as in the field."""
MIN_CONFIDENCE = 0.5
"""Below it an estimate is more likely wrong than right."""
REACH = 15.0
"""Metres at which the support of one match for another has fallen to 61 % (a Gaussian's standard deviation)."""
SHARPNESS = 6.0
"""How much more the first match counts than the last: e to this power."""
SMALLEST_RADIUS = 5.0


@dataclass(frozen=True)
class Match:
    """A photo of the database that resembles the query."""

    id: str
    path: str
    latitude: float
    longitude: float
    heading: float | None
    timestamp: datetime | None
    descriptor_distance: float
    """Euclidean distance of the descriptors, the smaller the more alike."""
    distance_metres: float
    """From the estimate."""
    weight: float
    """Its share of the vote; the weights of all matches add up to 1."""
    credit: Credit | None = None
    """Whom to name for it, where it is of somebody else."""


@dataclass(frozen=True)
class Estimate:
    """Where a photo was taken, and what speaks for it."""

    latitude: float
    longitude: float
    radius_metres: float
    """Of the circle around the position that the matches speak for."""
    agreement: float
    """Share of the vote, 0 to 1, of the matches within 25 metres of the position. It is no probability."""
    probability: float | None
    """That the truth lies within 25 metres, learned from labelled queries of the database; None without these."""
    calibrated: bool
    """Whether there is a probability."""
    known: bool | None
    """Whether the probability reaches what was asked for: if not, this is an unknown place. None where nobody knows."""
    matches: list[Match]
    """Most similar first."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values that JSON can hold; times in ISO 8601."""
        content = asdict(self)
        for match in content["matches"]:
            match["timestamp"] = match["timestamp"] and match["timestamp"].isoformat()
        return content


@dataclass(frozen=True)
class Located:
    """A photo and where it was taken."""

    path: str
    estimate: Estimate


@dataclass(frozen=True)
class Evidence:
    """What the matches of one query say together."""

    point: Floats
    """(3,) metres from the centre of the earth: the estimate."""
    weights: Floats
    """(k,) share of each match in the vote, adding up to 1."""
    distances: Floats
    """(k,) metres from the estimate to each match."""
    features: Floats
    """(3,) descriptor distance of the best match of the place, gap to the next place, spread in log metres."""

    @property
    def agreement(self) -> float:
        """Share of the vote, 0 to 1, of matches within 25 metres of the estimate."""
        return min(1.0, float(self.weights[self.distances <= RIGHT_WITHIN].sum()))

    @property
    def radius(self) -> float:
        """Root mean square distance in metres of the votes that agree, at least SMALLEST_RADIUS."""
        near = self.distances <= RIGHT_WITHIN
        spread = np.sqrt(np.average(self.distances[near] ** 2, weights=self.weights[near])) if near.any() else 0.0
        return max(SMALLEST_RADIUS, float(spread))


def weigh_matches(descriptor_distances: Floats) -> Floats:
    """Return the shares in the vote (k,) of matches in this order, with these descriptor distances.

    The scale is that of the distances themselves, first to last, so that it suits any model. Where a reranker has put a
    photo behind one that looks less alike, it counts no more than that one.
    """
    descriptor_distances = np.maximum.accumulate(descriptor_distances)
    excess = descriptor_distances - descriptor_distances[0]
    weights = np.exp(-SHARPNESS * excess / max(float(excess[-1]), 1e-9))
    shares: Floats = weights / weights.sum()
    return shares


def weigh_evidence(matches: pl.DataFrame, point: Floats | None = None) -> Evidence:
    """Join the matches of one query.

    Each match gets the votes of all matches near it (a Gaussian of REACH metres); the one with the most is the place.
    The estimate is the position of the most similar match within RIGHT_WITHIN metres of it: where that one is right, a
    mean of several would only lie farther from the truth.

    Args:
        matches: as ``PlaceDatabase.search`` gives them, at least one.
        point: the estimate (3,) in metres from the centre of the earth, where it is known already.
    """
    points = to_points(matches["latitude"].to_numpy(), matches["longitude"].to_numpy())
    descriptor_distances = matches["descriptor_distance"].to_numpy()
    weights = weigh_matches(descriptor_distances)
    if point is None:
        place = points[np.argmax(measure_nearness(points[:, None], points) @ weights)]
        point = points[np.argmax(measure_distances(points, place) <= RIGHT_WITHIN)]
    distances = measure_distances(points, point)
    here = distances <= RIGHT_WITHIN
    largest = float(descriptor_distances.max())
    best = float(descriptor_distances[here].min()) if here.any() else largest
    next_place = float(descriptor_distances[~here].min()) if not here.all() else largest
    spread = float(np.sqrt(np.average(distances**2, weights=weights)))
    return Evidence(point, weights, distances, np.array([best, next_place - best, np.log(spread + SMALLEST_RADIUS)]))


def measure_nearness(points: Floats, others: Floats) -> Floats:
    """Return 1 for points (..., 3) that lie together, falling to 0 beyond REACH metres; broadcast."""
    nearness: Floats = np.exp(-0.5 * (measure_distances(points, others) / REACH) ** 2)
    return nearness


def choose_threshold(
    calibration: Calibration | None, min_confidence: float | None, even_uncalibrated: bool
) -> float | None:
    """Return the confidence below which a place is unknown, or None where nothing says so.

    Args:
        calibration: of the database, if it has one: then the confidence is the probability.
        min_confidence: asked for, 0 to 1; None asks for MIN_CONFIDENCE.
        even_uncalibrated: without a calibration the agreement of the matches is taken for the confidence.

    Raises:
        ProgeoError: a confidence is asked for that the database cannot tell.
    """
    if min_confidence is not None and not 0 <= min_confidence <= 1:
        raise ProgeoError(f"`min_confidence` is a probability from 0 to 1, not {min_confidence:g}.")
    if calibration is None and not even_uncalibrated:
        if min_confidence is None:
            return None
        raise ProgeoError(
            f"`min_confidence` {min_confidence:g} asks for a probability, which this database cannot tell before it is "
            "calibrated with photos of known position (progeo calibrate). To compare the agreement of the matches with "
            "it all the same, which says less than it seems to, give `even_uncalibrated`."
        )
    return MIN_CONFIDENCE if min_confidence is None else min_confidence


def make_estimate(
    matches: pl.DataFrame, evidence: Evidence, calibration: Calibration | None, threshold: float | None
) -> Estimate:
    """Return what the evidence says for people to use; ``threshold`` is that of ``choose_threshold``."""
    latitude, longitude = (float(value) for value in to_degrees(evidence.point))
    probability = None if calibration is None else float(calibration.predict(evidence.features))
    confidence = evidence.agreement if probability is None else probability
    rows = matches.select(
        "id", "path", "latitude", "longitude", "heading", "timestamp", "descriptor_distance"
    ).iter_rows(named=True)
    return Estimate(
        latitude=latitude,
        longitude=longitude,
        radius_metres=evidence.radius * (calibration.radius_factor if calibration else 1.0),
        agreement=evidence.agreement,
        probability=probability,
        calibrated=calibration is not None,
        known=None if threshold is None else confidence >= threshold,
        matches=[
            Match(**row, distance_metres=float(distance), weight=float(weight), credit=credit)
            for row, distance, weight, credit in zip(
                rows, evidence.distances, evidence.weights, read_credits(matches), strict=True
            )
        ],
    )
