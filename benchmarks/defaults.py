"""The default calibration: what a judge learns of many towns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.towns import FEWEST_OUTSIDE, Town
from progeo.data.sphere import Floats
from progeo.locating import default
from progeo.locating.calibration import VERIFIED_FEATURES, Judge, fit_judge, fit_radius_factor
from progeo.locating.default import ALONE, FOUND_AGAIN, PRESENT_BY, STANDARDISED, Defaults
from progeo.locating.evidence import RIGHT_WITHIN, stack_features

PHOTOS_A_TOWN = 100.0
"""The weight of a town."""
ORIGIN = "fitted by benchmarks/locating.py with EfficientNet-Lite0, its own head and a fitted one, on real photos"

Bools = NDArray[np.bool_]


@dataclass
class Lessons:
    """Features, outcomes and weights of many queries, gathered town by town."""

    names: tuple[str, ...]
    features: list[Floats] = field(default_factory=list)
    right: list[Bools] = field(default_factory=list)
    inside: list[Bools] = field(default_factory=list)

    def add(self, features: Floats, right: Bools, inside: Bools) -> None:
        self.features.append(features)
        self.right.append(right)
        self.inside.append(inside)

    @property
    def weights(self) -> Floats:
        return np.concatenate([np.full(len(part), PHOTOS_A_TOWN / len(part)) for part in self.features])

    def fit(self, outcome: str, names: Sequence[str] | None = None) -> Judge:
        """Learn ``right`` or ``inside`` from features of these names; without them from all."""
        names = tuple(names or self.names)
        columns = [self.names.index(name) for name in names]
        features = np.concatenate(self.features)[:, columns]
        return fit_judge(features, names, np.concatenate(getattr(self, outcome)), self.weights)

    def measure_units(self) -> dict[str, tuple[float, float]]:
        """Return mean and deviation by a feature's name."""
        features = np.concatenate(self.features)
        mean = np.average(features, axis=0, weights=self.weights)
        deviation = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=self.weights))
        return dict(zip(self.names, zip(mean.tolist(), deviation.tolist(), strict=True), strict=True))


def fit_defaults(towns: Sequence[Town]) -> Defaults:
    """Learn from all these towns, each with the same weight, described by all heads."""
    units = {}
    for head in sorted({town.head for town in towns}):
        raw = Lessons(ALONE)
        for town in towns:
            if town.head == head:
                raw.add(*gather(town, ALONE, verified=False))
                evidence, right, inside = town.hamlets
                raw.add(stack_features(evidence, ALONE), right, inside)
        units[head] = raw.measure_units()
    plain, verified = Lessons((*STANDARDISED, FOUND_AGAIN)), Lessons((*STANDARDISED, FOUND_AGAIN, *VERIFIED_FEATURES))
    alone, alone_verified = Lessons(ALONE), Lessons((*ALONE, *VERIFIED_FEATURES))
    ratios = []
    for town in towns:
        mean, deviation = default.measure_units(town.examples, STANDARDISED)
        own = dict(zip(STANDARDISED, zip(mean, deviation, strict=True), strict=True))
        for lessons, unit, is_verified in (
            (plain, own, False),
            (verified, own, True),
            (alone, units[town.head], False),
            (alone_verified, units[town.head], True),
        ):
            features, right, inside = gather(town, lessons.names, verified=is_verified)
            lessons.add(standardise(features, lessons.names, unit), right, inside)
        evidence, right, inside = town.hamlets
        alone.add(standardise(stack_features(evidence, ALONE), ALONE, units[town.head]), right, inside)
        near = town.plain_errors <= RIGHT_WITHIN
        radii = np.array([item.radius for item in town.plain_evidence])
        ratios.append(fit_radius_factor(town.plain_errors[near], radii[near], np.nan))
    present = verified.fit("inside", (*PRESENT_BY, "strength"))
    return Defaults(
        origin=ORIGIN,
        right=plain.fit("right"),
        present=plain.fit("inside", PRESENT_BY),
        verified=verified.fit("right"),
        # Points agree with photos from elsewhere more often in one town than in another: half of it counts.
        verified_present=replace(present, coefficients=[*present.coefficients[:-1], present.coefficients[-1] / 2]),
        alone=alone.fit("right"),
        alone_present=alone.fit("inside"),
        alone_verified=alone_verified.fit("right"),
        alone_verified_present=alone_verified.fit("inside"),
        units=units,
        # Where all photos of a place share a point, right estimates have no error, and say nothing of others.
        radius_factor=float(np.mean([ratio for ratio in ratios if ratio > 0])),
    )


def gather(town: Town, names: Sequence[str], *, verified: bool) -> tuple[Floats, Bools, Bools]:
    """Return features of a town's queries and of as many photos of others, which are right, and which inside."""
    queries, errors = (town.evidence, town.errors) if verified else (town.plain_evidence, town.plain_errors)
    evidence = [*queries, *(town.outside if verified else town.plain_outside)[: max(FEWEST_OUTSIDE, len(queries))]]
    own = np.full((len(evidence), 1), town.examples.found_again)
    features = np.hstack([own if name == FOUND_AGAIN else stack_features(evidence, [name]) for name in names])
    inside = np.arange(len(evidence)) < len(queries)
    right = np.zeros(len(evidence), dtype=bool)
    right[: len(queries)] = errors <= RIGHT_WITHIN
    return features, right, inside


def standardise(features: Floats, names: Sequence[str], units: Mapping[str, tuple[float, float]]) -> Floats:
    """Return features (Q, F) of these names less their mean and divided by their deviation, where they have units."""
    mean, deviation = np.array([units.get(name, (0.0, 1.0)) for name in names]).T
    standardised: Floats = (features - mean) / deviation
    return standardised
