"""Confidence that means what it says: learned from labelled queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """How evidence becomes a probability: a logistic regression on standardised features."""

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    coefficients: tuple[float, ...]
    intercept: float
    radius_factor: float
    """What the radius of the agreeing matches is multiplied with, so that the circle holds the truth."""
    queries: int
    """How many labelled queries it was learned from."""

    def predict(self, features: Floats) -> float:
        """Return the probability, 0 to 1, that an estimate with these features (3,) is right."""
        standardised = (features - np.array(self.mean)) / np.array(self.scale)
        return float(1 / (1 + np.exp(-(standardised @ np.array(self.coefficients) + self.intercept))))
