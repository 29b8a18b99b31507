"""A calibration without labelled queries: what other towns have taught, in the database's own units.

What wrong looks like is learned from the database: its photos are located with all photos of their place left out. What
right looks like is not, as neighbouring photos of one drive are near-duplicates and queries are not: that comes from
other towns, with the features standardised by the wrong estimates of each. How often right, too, differs from town to
town; it goes with how often a photo of the database is found again by the others of its place.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
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
"""Features that need no units: they compare distances of one query only."""


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
    ``found_again``."""
    present: Judge
    """Of PRESENT_BY, standardised likewise."""
    alone: Judge
    """As ``right``, of features in units of the query itself, where there are no examples."""
    alone_present: Judge
    """As ``present``, likewise."""
    radius_factor: float

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Defaults:
        """Return what ``dataclasses.asdict`` made plain."""
        judges = {name: Judge(**content[name]) for name in ("right", "present", "alone", "alone_present")}
        return cls(**{**content, **judges})


@cache
def load_defaults() -> Defaults:
    """Return the defaults that come with progeo."""
    return Defaults.from_dict(json.loads(PATH.read_text(encoding="utf-8")))


def measure_units(examples: Examples, names: Sequence[str]) -> tuple[Floats, Floats]:
    """Return mean and deviation of features (F,) where the place is left out."""
    features = stack_features(examples.outside, names)
    return features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)


def calibrate_by_itself(examples: Examples, photos: int, defaults: Defaults | None = None) -> Calibration:
    """Return the calibration of a database from its own photos, or the default where there are too few places.

    Args:
        examples: of ``PlaceDatabase``.
        photos: in the database.
        defaults: None takes those of progeo.
    """
    defaults = defaults or load_defaults()
    if examples.places < FEWEST_PLACES:
        return Calibration(
            right=defaults.alone,
            present=defaults.alone_present,
            radius_factor=defaults.radius_factor,
            queries=len(examples.outside),
            source="default",
            photos=photos,
            notes=(
                f"{examples.places:,} places are too few to learn from: {FEWEST_PLACES} are needed. A default "
                f"calibration stands in, {defaults.origin}.",
            ),
        )
    return Calibration(
        right=_limit(_shift(defaults.right, examples), examples),
        present=_shift(defaults.present, examples),
        radius_factor=defaults.radius_factor,
        queries=len(examples.outside) + len(examples.inside),
        source="database",
        photos=photos,
        notes=tuple(describe_lessons(examples, defaults)),
    )


def _shift(judge: Judge, examples: Examples) -> Judge:
    """Return a judge of standardised features as one of the features themselves."""
    names = [name for name in judge.features if name != "found_again"]
    mean, deviation = measure_units(examples, names)
    count = len(names)
    intercept = judge.intercept
    if count < len(judge.features):
        intercept += judge.coefficients[count] * (examples.found_again - judge.mean[count]) / judge.scale[count]
    return Judge(
        features=names,
        mean=(mean + deviation * np.array(judge.mean[:count])).tolist(),
        scale=(deviation * np.array(judge.scale[:count])).tolist(),
        coefficients=judge.coefficients[:count],
        intercept=intercept,
    )


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
