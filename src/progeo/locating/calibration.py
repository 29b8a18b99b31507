"""Confidence that means what it says: learned from photos whose place is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from progeo.errors import ProgeoError
from progeo.locating.evidence import FEATURES, RIGHT_WITHIN, Evidence, stack_features
from progeo.plain import read_dataclass

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FEWEST_QUERIES = 20
FEWEST_OF_A_KIND = 10
"""Photos from inside, and from outside, that are needed to learn how to tell these apart."""
REGULARISATION = 1.0
"""Weight of the squared coefficients against the sum of the queries' losses: a few queries cannot be too sure."""
CIRCLE_HOLDS = 0.8
"""Share of the right estimates whose truth lies in their circle."""
SMALLEST_RADIUS = 1.0
"""Metres: no position is known better."""
FOLDS = 5
BINS = 10
DESCRIPTOR_FEATURES = ("best", "gap", "spread")
VERIFIED_FEATURES = ("strength", "lead", "coverage")
PRESENCE_FEATURES = ("best",)
"""The plain distance tells photos of other places best; see ``docs/benchmarks.md``."""


@dataclass(frozen=True)
class Judge:
    """How evidence becomes a probability: a logistic regression on standardised features."""

    features: list[str]
    mean: list[float]
    scale: list[float]
    coefficients: list[float]
    intercept: float

    def __post_init__(self) -> None:
        """Raise ValueError if the parts do not belong together."""
        lengths = {len(values) for values in (self.features, self.mean, self.scale, self.coefficients)}
        if len(lengths) > 1 or not all(value > 0 for value in self.scale):
            raise ValueError("mean, scale and coefficients are not those of the features")

    def predict(self, features: Floats) -> Floats:
        """Return the probability (...), 0 to 1, of features (..., F)."""
        scores = (features - self.mean) / self.scale @ np.array(self.coefficients) + self.intercept
        probability: Floats = 1 / (1 + np.exp(-np.clip(scores, -500, 500)))
        return probability

    def judge(self, evidence: Sequence[Evidence]) -> Floats:
        """Return the probability (Q,) of each query."""
        return self.predict(stack_features(evidence, self.features))


@dataclass(frozen=True)
class Calibration:
    """What was learned of the estimates of a database."""

    right: Judge
    """Of being right within 25 metres."""
    present: Judge | None
    """Of the database showing the place at all; None in calibrations of progeo 0.1.0."""
    radius_factor: float
    """What the radius of the agreeing matches is multiplied with, so that the circle holds the truth."""
    queries: int
    """How many examples it was learned from."""
    source: Literal["queries", "database", "default"] = "queries"
    """Labelled queries, the database's own photos, or other towns."""
    holds: float = CIRCLE_HOLDS
    """Share of the right estimates whose truth lies in their circle."""
    verified: Judge | None = None
    """As ``right``, where the matches were verified by local features; None where that was not learned."""
    verified_present: Judge | None = None
    """As ``present``, likewise."""
    photos: int = 0
    """How many the database held."""
    notes: tuple[str, ...] = ()
    """What could be learned and what could not, in sentences."""

    def judge(self, evidence: Sequence[Evidence]) -> tuple[Floats, Floats | None]:
        """Return the probability (Q,) that each query's estimate is right, and that its place is in the database.

        The first is never above the second.
        """
        right, present = self._choose(evidence)
        probability = right.judge(evidence)
        if present is None:
            return probability, None
        presence = present.judge(evidence)
        return np.minimum(probability, presence), presence

    def knows_verification(self, evidence: Evidence) -> bool | None:
        """Whether the probability takes into account that matches were verified; None where they were not."""
        return None if "strength" not in evidence.features else self.verified is not None

    def _choose(self, evidence: Sequence[Evidence]) -> tuple[Judge, Judge | None]:
        if self.verified is not None and evidence and all("strength" in item.features for item in evidence):
            return self.verified, self.verified_present or self.present
        return self.right, self.present

    def limit_radius(self, radius: float) -> float:
        """Return the radius in metres of the circle that ``holds`` says how often it holds the truth."""
        return float(np.clip(radius * self.radius_factor, SMALLEST_RADIUS, RIGHT_WITHIN))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Calibration:
        """Return a calibration from the values of ``to_dict``, or from those that progeo 0.1.0 kept.

        Raises:
            ValueError: a value is missing or of another kind.
        """
        if isinstance(content, Mapping) and "right" not in content:
            judge = {name: content[name] for name in ("mean", "scale", "coefficients", "intercept") if name in content}
            # It learned the factor, so that nine of ten circles held the truth, for radii of at least five metres.
            content = {
                "right": {"features": list(DESCRIPTOR_FEATURES), **judge},
                "present": None,
                "holds": 0.9,
                **{name: content[name] for name in ("radius_factor", "queries") if name in content},
            }
        calibration = read_dataclass(cls, content)
        judges = (calibration.right, calibration.present, calibration.verified, calibration.verified_present)
        if unknown := [name for judge in judges if judge for name in judge.features if name not in FEATURES]:
            raise ValueError(f"there is no feature {unknown[0]}")
        return calibration


def check_enough(queries: int) -> None:
    """Refuse to learn from too few queries.

    Raises:
        ProgeoError: they are too few.
    """
    if queries < FEWEST_QUERIES:
        raise ProgeoError(
            f"{queries} queries are too few to learn how sure estimates are: at least {FEWEST_QUERIES} are needed, a "
            "few hundred are better. Nothing is stored."
        )


def fit_judge(features: Floats, names: Sequence[str], outcome: Bools, weights: Floats | None = None) -> Judge:
    """Learn from features (Q, F) of these names how probable the outcome (Q,) is; queries may have weights (Q,)."""
    from scipy.optimize import minimize  # takes longer to import than all that locating needs

    mean, scale = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-9)
    standardised = np.column_stack([(features - mean) / scale, np.ones(len(features))])
    signs = np.where(outcome, 1.0, -1.0)
    shares = np.ones(len(features)) if weights is None else weights

    def loss(coefficients: Floats) -> tuple[float, Floats]:
        margins = signs * (standardised @ coefficients)
        slopes = -signs * shares / (1 + np.exp(np.minimum(margins, 500)))
        # The intercept is held too, so that it stays finite where all queries are right, or none: scikit-learn's
        # LogisticRegression refuses these, and leaves the intercept free, which would change what is stored.
        value = (shares * np.logaddexp(0, -margins)).sum() + 0.5 * REGULARISATION * (coefficients**2).sum()
        return float(value), standardised.T @ slopes + REGULARISATION * coefficients

    found = minimize(loss, np.zeros(standardised.shape[1]), jac=True, method="L-BFGS-B").x
    return Judge(list(names), mean.tolist(), scale.tolist(), found[:-1].tolist(), float(found[-1]))


def fit_calibration(
    evidence: Sequence[Evidence], errors: Floats, inside: Bools, before: Calibration | None = None
) -> Calibration:
    """Learn a calibration from labelled queries.

    Args:
        evidence: Q, of each query.
        errors: (Q,) metres from the estimate to the truth.
        inside: (Q,) whether the database shows the place.
        before: whose judge of presence stays where the queries cannot teach one, being all inside for example.

    Raises:
        ProgeoError: there are too few queries.
    """
    check_enough(len(evidence))
    return _fit(evidence, errors, inside, before)


def _fit(evidence: Sequence[Evidence], errors: Floats, inside: Bools, before: Calibration | None = None) -> Calibration:
    right = errors <= RIGHT_WITHIN
    verified = all("strength" in item.features for item in evidence)

    def fit(names: tuple[str, ...], outcome: Bools) -> Judge:
        return fit_judge(stack_features(evidence, names), names, outcome)

    present, verified_present = None, None
    if before and before.source != "default":  # which knows nothing of this database's distances
        present, verified_present = before.present, before.verified_present
    if min(inside.sum(), (~inside).sum()) >= FEWEST_OF_A_KIND:
        present = fit(PRESENCE_FEATURES, inside)
        verified_present = fit((*PRESENCE_FEATURES, "strength"), inside) if verified else None
    radii = np.array([item.radius for item in evidence])
    return Calibration(
        right=fit(DESCRIPTOR_FEATURES, right),
        present=present,
        radius_factor=fit_radius_factor(errors[right], radii[right], before.radius_factor if before else 1.0),
        queries=len(evidence),
        verified=fit((*DESCRIPTOR_FEATURES, *VERIFIED_FEATURES), right) if verified else None,
        verified_present=verified_present,
    )


def fit_radius_factor(errors: Floats, radii: Floats, otherwise: float) -> float:
    """Return what radii (Q,) are multiplied with to hold errors (Q,) as often as CIRCLE_HOLDS says.

    With fewer than FEWEST_OF_A_KIND examples it is ``otherwise``.
    """
    if len(errors) < FEWEST_OF_A_KIND:
        return otherwise
    return float(np.quantile(errors / radii, CIRCLE_HOLDS))


def cross_validate(
    evidence: Sequence[Evidence], errors: Floats, inside: Bools, before: Calibration | None = None
) -> tuple[Floats, Floats | None, Floats]:
    """Judge each query by a calibration that has not seen it, in folds drawn by lot.

    Returns:
        The probability (Q,) of being right, that of presence (Q,) or None, and the radii (Q,) in metres.
    """
    folds = np.random.default_rng(0).permutation(len(evidence)) % FOLDS
    probabilities, presences, radii = np.empty(len(evidence)), np.empty(len(evidence)), np.empty(len(evidence))
    knows_presence = True
    for fold in range(FOLDS):
        seen, rest = np.flatnonzero(folds != fold).tolist(), np.flatnonzero(folds == fold).tolist()
        calibration = _fit([evidence[row] for row in seen], errors[seen], inside[seen], before)
        judged = [evidence[row] for row in rest]
        probabilities[rest], presence = calibration.judge(judged)
        radii[rest] = [calibration.limit_radius(item.radius) for item in judged]
        if presence is None:
            knows_presence = False
        else:
            presences[rest] = presence
    return probabilities, presences if knows_presence else None, radii


def measure_calibration_error(probabilities: Floats, right: Bools) -> float:
    """Return the expected calibration error: how far probabilities are from the share that is right.

    The mean over BINS equally wide bins, weighted by their numbers, of the distance between mean probability and share
    of right estimates (Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3).
    """
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    gaps = [abs((probabilities - right)[bins == number].sum()) for number in range(BINS)]
    return float(sum(gaps) / len(right))
