"""Evidence without photos, for tests of what is learned from it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from progeo.locating.evidence import Evidence

Floats = NDArray[np.float64]


def make_evidence(features: dict[str, float], spread: float = 8.66) -> Evidence:
    """Evidence of one match at a distance of ``spread`` metres."""
    return Evidence(np.zeros(3), np.ones(1), np.array([spread]), {"agreement": 0.5, **features})


def draw_queries(count: int) -> tuple[list[Evidence], Floats, Floats]:
    """Evidence, errors, and the probabilities that the errors were drawn by."""
    generator = np.random.default_rng(0)
    features = generator.normal([0.8, 0.05, 3.0], [0.2, 0.04, 1.0], (count, 3))
    scores = -6 * (features[:, 0] - 0.8) + 30 * (features[:, 1] - 0.05) - 0.5 * (features[:, 2] - 3)
    truth = 1 / (1 + np.exp(-scores))
    right = generator.uniform(size=count) < truth
    errors = np.where(right, generator.uniform(0, 20, count), 500.0)
    evidence = [make_evidence(dict(zip(("best", "gap", "spread"), row, strict=True))) for row in features.tolist()]
    return evidence, errors, truth
