"""Confidence that means what it says: learned from photos whose place is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from progeo.errors import ProgeoError

Floats = NDArray[np.float64]

FEWEST_QUERIES = 20
REGULARISATION = 1.0
"""Weight of the squared coefficients against the sum of the queries' losses: a few queries cannot be too sure."""
CIRCLE_HOLDS = 0.9
"""Share of the right estimates whose truth lies in their circle."""
FOLDS = 5
BINS = 10


@dataclass(frozen=True)
class Calibration:
    """How evidence becomes a probability: a logistic regression on standardised features."""

    mean: list[float]
    scale: list[float]
    coefficients: list[float]
    intercept: float
    radius_factor: float
    """What the radius of the agreeing matches is multiplied with, so that the circle holds the truth."""
    queries: int
    """How many labelled queries it was learned from."""

    def predict(self, features: Floats) -> Floats:
        """Return the probability (...), 0 to 1, that estimates with these features (..., F) are right."""
        scores = (features - self.mean) / self.scale @ np.array(self.coefficients) + self.intercept
        probability: Floats = 1 / (1 + np.exp(-scores))
        return probability


def check_enough(queries: int) -> None:
    """Refuse to learn from too few queries.

    Raises:
        ProgeoError: they are too few.
    """
    if queries < FEWEST_QUERIES:
        raise ProgeoError(
            f"{queries} queries are too few to learn how sure estimates are: at least {FEWEST_QUERIES} are needed, a "
            "few hundred are better."
        )


def fit_calibration(features: Floats, errors: Floats, radii: Floats, right_within: float) -> Calibration:
    """Learn a calibration from labelled queries.

    Args:
        features: (Q, F), what ``Evidence`` says of each query.
        errors: (Q,) metres from the estimate to the truth.
        radii: (Q,) metres, of the matches that agree.
        right_within: metres within which an estimate is right.

    Raises:
        ProgeoError: there are too few queries.
    """
    from scipy.optimize import minimize  # takes longer to import than all that locating needs

    check_enough(len(features))
    right = errors <= right_within
    mean, scale = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-9)
    standardised = np.column_stack([(features - mean) / scale, np.ones(len(features))])
    signs = np.where(right, 1.0, -1.0)

    def loss(weights: Floats) -> tuple[float, Floats]:
        margins = signs * (standardised @ weights)
        slopes = -signs / (1 + np.exp(margins))
        # The intercept is held too, so that it stays finite where all queries are right, or none: scikit-learn's
        # LogisticRegression refuses these, and leaves the intercept free, which would change what is stored.
        value = np.logaddexp(0, -margins).sum() + 0.5 * REGULARISATION * (weights**2).sum()
        return float(value), standardised.T @ slopes + REGULARISATION * weights

    weights = minimize(loss, np.zeros(standardised.shape[1]), jac=True, method="L-BFGS-B").x
    ratios = errors[right] / radii[right]
    return Calibration(
        mean=mean.tolist(),
        scale=scale.tolist(),
        coefficients=weights[:-1].tolist(),
        intercept=float(weights[-1]),
        radius_factor=float(np.quantile(ratios, CIRCLE_HOLDS)) if right.any() else 1.0,
        queries=len(features),
    )


def cross_validate(features: Floats, errors: Floats, radii: Floats, right_within: float) -> Floats:
    """Return the probability (Q,) of each query by a calibration that has not seen it, in folds drawn by lot."""
    folds = np.random.default_rng(0).permutation(len(features)) % FOLDS
    probabilities = np.empty(len(features))
    for fold in range(FOLDS):
        seen = folds != fold
        calibration = fit_calibration(features[seen], errors[seen], radii[seen], right_within)
        probabilities[~seen] = calibration.predict(features[~seen])
    return probabilities


def measure_calibration_error(probabilities: Floats, right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error: how far probabilities are from the share that is right.

    The mean over BINS equally wide bins, weighted by their numbers, of the distance between mean probability and share
    of right estimates (Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3).
    """
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    gaps = [abs((probabilities - right)[bins == number].sum()) for number in range(BINS)]
    return float(sum(gaps) / len(right))
