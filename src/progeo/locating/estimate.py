"""From what the matches say to what people are told: a position, how sure it is, or that the place is unknown."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from progeo.data.credits import Credit, read_credits
from progeo.data.frames import EARTH, LOCAL, find_frame, read_position
from progeo.errors import ProgeoError
from progeo.locating.calibration import Calibration
from progeo.locating.evidence import RIGHT_WITHIN, Evidence

MIN_CONFIDENCE = 0.5
"""Below it an estimate is more likely wrong than right."""


@dataclass(frozen=True)
class Match:
    """A photo of the database that resembles the query."""

    id: str
    path: str
    latitude: float | None
    """Degrees; None, like longitude, in a local frame."""
    longitude: float | None
    heading: float | None
    timestamp: datetime | None
    descriptor_distance: float
    """Euclidean distance of the descriptors, the smaller the more alike."""
    distance_metres: float
    """From the estimate, also where that is not told."""
    weight: float
    """Its share of the vote; the weights of all matches add up to 1."""
    credit: Credit | None = None
    """Whom to name for it, where it is of somebody else."""
    agreeing_points: int | None = None
    """Points of both photos that agree with one geometry; None without re-ranking."""
    strength: float | None = None
    """Those points as a multiple of what hardly any photos of different places share; None without re-ranking."""
    x: float | None = None
    """Metres in the local frame of the database; None, like y, on the earth."""
    y: float | None = None

    @property
    def position(self) -> tuple[float, float]:
        """Latitude and longitude, or x and y."""
        first, second = (self.latitude, self.longitude) if self.x is None else (self.x, self.y)
        assert first is not None and second is not None
        return first, second


@dataclass(frozen=True)
class Estimate:
    """Where a photo was taken, and what speaks for it."""

    latitude: float | None
    """Degrees; None, like longitude and radius, where the place is not known, unless these were asked for as well."""
    longitude: float | None
    radius_metres: float | None
    """Of the circle around the position that holds the truth as often as the calibration says; None without one."""
    agreement: float
    """Share of the vote, 0 to 1, of the matches within 25 metres of the position. It is no probability."""
    probability: float | None
    """That the truth lies within 25 metres; None without a calibration."""
    presence: float | None
    """Probability that the database shows this place at all; None where the calibration does not tell."""
    calibrated: bool
    """Whether there is a probability."""
    calibration: str | None
    """What it was learned from: ``queries`` of known position, the ``database`` itself, or the ``default``."""
    known: bool | None
    """Whether the probability reaches what was asked for: if not, this is an unknown place. None where nobody knows."""
    matches: list[Match]
    """Most similar first, at least one."""
    x: float | None = None
    """Metres in a local frame; told as latitude and longitude are."""
    y: float | None = None
    heading: float | None = None
    """Roughly where the camera looked, in degrees clockwise from north: as in the match whose position this is. None
    where that is not known, or the position is not told."""
    knows_verification: bool | None = None
    """Whether the probability takes into account that matches were verified, point by point; False of calibrations
    that were fitted without verification; None where matches were not verified, or nothing is calibrated."""

    @property
    def is_local(self) -> bool:
        """Whether positions are x and y in a local frame, instead of latitude and longitude."""
        return any(match.x is not None for match in self.matches)

    @property
    def position(self) -> tuple[float, float] | None:
        """Latitude and longitude, or x and y; None where it is not told."""
        first, second = (self.x, self.y) if self.is_local else (self.latitude, self.longitude)
        return None if first is None or second is None else (first, second)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values that JSON can hold; times in ISO 8601, positions in their frame alone."""
        content = _tell_frame(asdict(self), self.is_local)
        content["matches"] = [_tell_frame(match, self.is_local) for match in content["matches"]]
        for match in content["matches"]:
            match["timestamp"] = match["timestamp"] and match["timestamp"].isoformat()
        return content


def _tell_frame(content: dict[str, Any], is_local: bool) -> dict[str, Any]:
    """Return a match or an estimate with the position of its frame alone, where latitude and longitude stand."""
    local = {name: content.pop(name) for name in LOCAL}
    if not is_local:
        return content
    names = dict(zip(EARTH, LOCAL, strict=True))
    return {names.get(name, name): local[names[name]] if name in names else content[name] for name in content}


@dataclass(frozen=True)
class Located:
    """A photo and where it was taken."""

    path: str
    estimate: Estimate


def choose_threshold(calibration: Calibration | None, min_confidence: float | None) -> float | None:
    """Return the confidence below which a place is unknown, or None where nothing says so.

    Args:
        calibration: of the database, if it has one.
        min_confidence: asked for, 0 to 1; None asks for MIN_CONFIDENCE.

    Raises:
        ProgeoError: a confidence is asked for that the database cannot tell.
    """
    if min_confidence is not None and not 0 <= min_confidence <= 1:
        raise ProgeoError(f"`min_confidence` is a probability from 0 to 1, not {min_confidence:g}.")
    if calibration is None:
        if min_confidence is None:
            return None
        raise ProgeoError(
            f"`min_confidence` {min_confidence:g} asks for a probability, which this database cannot tell before it is "
            "calibrated: progeo index does that by itself, progeo calibrate with photos of known position does it "
            "better. To see positions all the same, without knowing how sure they are, give `even_unknown` instead."
        )
    return MIN_CONFIDENCE if min_confidence is None else min_confidence


def make_estimate(
    matches: pl.DataFrame,
    evidence: Evidence,
    calibration: Calibration | None,
    threshold: float | None,
    even_unknown: bool = False,
) -> Estimate:
    """Return what the evidence says for people to use.

    Args:
        matches: of one query.
        evidence: of these.
        calibration: of the database, if it has one.
        threshold: that of ``choose_threshold``.
        even_unknown: tell positions also of places that are not known.
    """
    probability = presence = radius = knows_verification = None
    if calibration is not None:
        probabilities, presences = calibration.judge([evidence])
        probability = float(probabilities[0])
        presence = None if presences is None else float(presences[0])
        radius = calibration.limit_radius(evidence.radius)
        knows_verification = calibration.knows_verification(evidence)
    known = None if threshold is None or probability is None else probability >= threshold
    is_told = known is True or even_unknown
    frame = find_frame(matches.columns)
    nowhere: dict[str, Any] = dict.fromkeys((*EARTH, *LOCAL))
    told = nowhere | (dict(zip(frame, read_position(evidence.point, frame), strict=True)) if is_told else {})
    verified = {"agreeing_points": "inliers", "strength": "strength"} if "inliers" in matches.columns else {}
    names = ("id", "path", *frame, "heading", "timestamp", "descriptor_distance")
    rows = matches.select(*names, **verified).iter_rows(named=True)
    nearest = int(np.argmin(evidence.distances))
    is_seen = is_told and evidence.distances[nearest] <= RIGHT_WITHIN
    return Estimate(
        **told,
        heading=matches["heading"][nearest] if is_seen else None,
        radius_metres=radius if is_told else None,
        agreement=evidence.agreement,
        probability=probability,
        presence=presence,
        calibrated=calibration is not None,
        calibration=calibration.source if calibration else None,
        known=known,
        matches=[
            Match(**nowhere | row, distance_metres=float(distance), weight=float(weight), credit=credit)
            for row, distance, weight, credit in zip(
                rows, evidence.distances, evidence.weights, read_credits(matches), strict=True
            )
        ],
        knows_verification=knows_verification,
    )
