"""A calibration without labelled queries: what other towns have taught, in the database's own units.

What wrong looks like is learned from the database: its photos are located with all photos of their place left out. What
right looks like is not, as neighbouring photos of one drive are near-duplicates and queries are not: that comes from
other towns, with the features standardised by the wrong estimates of each. How often right, too, differs from town to
town; it goes with how often a photo of the database is found again by the others of its place. What points that agree
are worth comes from other towns too: they count in multiples of what the database's own far pairs reach.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from progeo.locating.calibration import Calibration, Floats, Judge
from progeo.locating.evidence import RIGHT_WITHIN, Evidence, stack_features

PATH = Path(__file__).with_name("default_calibration.json")
FEWEST_PLACES = 8
"""That must be left out in turn before anything is learned from a database alone."""
USUALLY_FOUND_AGAIN = (1.0, 2.0)
"""Photos found and not found that are added to those counted, so that few photos say little."""
MOST_TAKEN_FOR_KNOWN = 0.6
"""Share of the photos without their place that may be judged right with a probability of one half: in a corridor all
places look alike, and what other towns teach would take most of them for known."""
STANDARDISED = ("best", "relative_gap", "agreement", "span")
PRESENT_BY = ("best",)
ALONE = ("relative_gap", "span", "agreement")
"""Features that need no examples: they compare distances of one query only."""
SHOWN = 0.25
"""Share of photos that are taken to show one of the places where these are too few to learn from. Of the examples it is
one half; but a few places are a small part of where photos are taken, and nothing in the database says otherwise."""
FOUND_AGAIN = "found_again"
JUDGES = (
    *("right", "present", "verified", "verified_present"),
    *("alone", "alone_present", "alone_verified", "alone_verified_present"),
)
"""Of ``Defaults``."""
USUAL_HEAD = "gem"
"""Whose units serve for heads that have none of their own."""


@dataclass(frozen=True)
class Examples:
    """Photos of a database located with itself."""

    places: int
    """That were left out."""
    outside: list[Evidence]
    """Photos without any of their place: all wrong."""
    inside: list[Evidence]
    """Photos with the others of their place."""
    errors: Floats
    """(I,) metres, of those inside."""

    @property
    def found(self) -> int:
        """How many of those inside were located within 25 metres."""
        return int((self.errors <= RIGHT_WITHIN).sum())

    @property
    def found_again(self) -> float:
        """Logarithm of the odds that a photo is found by the others of its place; the usual ones without examples."""
        found, lost = USUALLY_FOUND_AGAIN
        return float(np.log((self.found + found) / (len(self.inside) - self.found + lost)))


@dataclass(frozen=True)
class Defaults:
    """What other towns have taught, as data: see ``benchmarks/locating.py``, which fits it."""

    origin: str
    right: Judge
    """Of STANDARDISED features, each less its mean over ``Examples.outside`` and divided by its deviation; with
    FOUND_AGAIN."""
    present: Judge
    """Of PRESENT_BY, standardised likewise."""
    verified: Judge
    """As ``right``, with VERIFIED_FEATURES as they are."""
    verified_present: Judge
    """As ``present``, with strength."""
    alone: Judge
    """As ``right``, of ALONE in the units of the head, where there are no examples."""
    alone_present: Judge
    """As ``present``, likewise."""
    alone_verified: Judge
    """As ``alone``, with VERIFIED_FEATURES."""
    alone_verified_present: Judge
    """As ``alone_present``, with VERIFIED_FEATURES."""
    units: Mapping[str, Mapping[str, tuple[float, float]]]
    """By a head's name, mean and deviation of each of ALONE: distances of vocabularies differ less than others do."""
    radius_factor: float

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Defaults:
        """Return what ``dataclasses.asdict`` made plain."""
        judges = {name: Judge(**content[name]) for name in JUDGES}
        units = {head: {name: tuple(unit) for name, unit in of.items()} for head, of in content["units"].items()}
        return cls(**{**content, **judges, "units": units})


@cache
def load_defaults() -> Defaults:
    """Return the defaults that come with progeo."""
    return Defaults.from_dict(json.loads(PATH.read_text(encoding="utf-8")))


def measure_units(examples: Examples, names: Sequence[str]) -> tuple[Floats, Floats]:
    """Return mean and deviation of features (F,) where the place is left out."""
    features = stack_features(examples.outside, names)
    return features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)


def calibrate_by_itself(
    examples: Examples, photos: int, defaults: Defaults | None = None, head: str = USUAL_HEAD
) -> Calibration:
    """Return the calibration of a database from its own photos, or the default where there are too few places.

    Args:
        examples: of ``PlaceDatabase``.
        photos: in the database.
        defaults: None takes those of progeo.
        head: of the model.
    """
    defaults = defaults or load_defaults()
    if examples.places < FEWEST_PLACES:
        units = defaults.units.get(head, defaults.units[USUAL_HEAD])
        return Calibration(
            right=_doubt(_express(defaults.alone, units)),
            present=_doubt(_express(defaults.alone_present, units)),
            verified=_doubt(_express(defaults.alone_verified, units)),
            verified_present=_doubt(_express(defaults.alone_verified_present, units)),
            radius_factor=defaults.radius_factor,
            queries=len(examples.outside),
            source="default",
            photos=photos,
            notes=(
                f"{examples.places:,} places are too few to learn from: {FEWEST_PLACES} are needed. A default "
                f"calibration stands in, {defaults.origin}.",
            ),
        )
    mean, deviation = measure_units(examples, STANDARDISED)
    units = dict(zip(STANDARDISED, zip(mean.tolist(), deviation.tolist(), strict=True), strict=True))
    found_again = {FOUND_AGAIN: examples.found_again}
    return Calibration(
        right=_limit(_express(defaults.right, units, found_again), examples),
        present=_express(defaults.present, units),
        verified=_express(defaults.verified, units, found_again),
        verified_present=_express(defaults.verified_present, units),
        radius_factor=defaults.radius_factor,
        queries=len(examples.outside) + len(examples.inside),
        source="database",
        photos=photos,
        notes=tuple(describe_lessons(examples, defaults)),
    )


def _express(judge: Judge, units: Mapping[str, tuple[float, float]], known: Mapping[str, float] | None = None) -> Judge:
    """Return a judge of standardised features as one of the features themselves.

    Args:
        judge: of features, those in ``units`` less their mean and divided by their deviation.
        units: mean and deviation by a feature's name; one without is as it is.
        known: features that are the same for all queries, and go into the intercept.
    """
    known = known or {}
    intercept = judge.intercept
    mean, scale, coefficients, kept = [], [], [], []
    for name, middle, width, coefficient in zip(
        judge.features, judge.mean, judge.scale, judge.coefficients, strict=True
    ):
        if name in known:
            intercept += coefficient * (known[name] - middle) / width
            continue
        start, unit = units.get(name, (0.0, 1.0))
        kept.append(name)
        mean.append(start + unit * middle)
        scale.append(unit * width)
        coefficients.append(coefficient)
    return Judge(kept, mean, scale, coefficients, intercept)


def _doubt(judge: Judge) -> Judge:
    """Return a judge, learned where half of the photos showed a place, as one where only SHOWN do."""
    return replace(judge, intercept=judge.intercept + float(np.log(SHOWN / (1 - SHOWN))))


def _limit(judge: Judge, examples: Examples) -> Judge:
    """Return a judge that takes no more than MOST_TAKEN_FOR_KNOWN of the photos without their place for right."""
    features = stack_features(examples.outside, judge.features)
    scores = (features - judge.mean) / judge.scale @ np.array(judge.coefficients) + judge.intercept
    excess = max(0.0, float(np.quantile(scores, 1 - MOST_TAKEN_FOR_KNOWN)))
    return replace(judge, intercept=judge.intercept - excess)


def describe_lessons(examples: Examples, defaults: Defaults) -> list[str]:
    """Return what could be learned and what could not, in sentences."""
    lessons = [f"What wrong estimates look like is learned from {len(examples.outside):,} photos without their place."]
    if not examples.inside:
        lessons.append(
            "How often photos are found again is not known: too few places have photos beside each other. It is taken "
            f"for as often as elsewhere ({defaults.origin})."
        )
    else:
        lessons.append(
            f"{examples.found:,} of {len(examples.inside):,} photos are found again by the others of their place; what "
            f"right estimates look like comes from elsewhere ({defaults.origin})."
        )
    return lessons
