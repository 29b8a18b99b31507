"""What the matches of one query say together: a place, and the figures by which it is judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from progeo.data.frames import read_points
from progeo.data.sphere import measure_distances

Floats = NDArray[np.float64]

RIGHT_WITHIN = 25.0
"""Metres within which an estimate counts as right, as in the field."""
REACH = 15.0
"""Metres at which the support of one match for another has fallen to 61 % (a Gaussian's standard deviation)."""
SHARPNESS = 5.0
"""How much more the first match counts than the last: e to this power."""
SOFTENING = 5.0
"""Metres that are added to spreads, so that those of a few metres differ little."""
USUAL_ERROR = 15.0
"""Metres from a right match to the truth, even where all matches lie at one point."""


@dataclass(frozen=True)
class Evidence:
    """What the matches of one query say together."""

    point: Floats
    """(3,) metres, as of ``read_points``: the estimate."""
    weights: Floats
    """(k,) share of each match in the vote, adding up to 1."""
    distances: Floats
    """(k,) metres from the estimate to each match."""
    features: Mapping[str, float]
    """What a ``Calibration`` judges by.

    - ``best``: descriptor distance of the best match of the place; ``gap``: how much farther the next place is;
      ``relative_gap``: the gap as a share of the next; ``span``: from best to last match as a share of the last.
    - ``spread``: logarithm of the spread of the votes in metres; ``agreement``: see there.
    - Of verified matches only, where a floor is known: ``strength`` and ``coverage`` of the place's strongest match,
      and its ``lead``, the logarithm of its strength over that of the strongest elsewhere.
    """

    @property
    def agreement(self) -> float:
        """Share of the vote, 0 to 1, of matches within 25 metres of the estimate."""
        return self.features["agreement"]

    @property
    def radius(self) -> float:
        """Root mean square distance in metres of the votes that agree, and of what they usually miss the truth by."""
        near = self.distances <= RIGHT_WITHIN
        spread = np.sqrt(np.average(self.distances[near] ** 2, weights=self.weights[near])) if near.any() else 0.0
        return float(np.hypot(spread, USUAL_ERROR))


def weigh_matches(distances: Floats) -> Floats:
    """Return the shares in the vote (k,) of matches in this order, with these descriptor distances.

    The scale is that of the distances themselves, first to last, so that it suits any model. Where a reranker has put a
    photo behind one that looks less alike, it counts no more than that one.
    """
    distances = np.maximum.accumulate(distances)
    excess = distances - distances[0]
    weights = np.exp(-SHARPNESS * excess / max(float(excess[-1]), 1e-9))
    shares: Floats = weights / weights.sum()
    return shares


def read_distances(matches: pl.DataFrame) -> Floats:
    """Return the distances (k,) that weigh votes: of descriptors, less what verified matches are worth."""
    name = "verified_distance" if "verified_distance" in matches.columns else "descriptor_distance"
    return matches[name].to_numpy()


def weigh_evidence(matches: pl.DataFrame, point: Floats | None = None) -> Evidence:
    """Join the matches of one query.

    Each match gets the votes of all matches near it (a Gaussian of REACH metres); the one with the most is the place.
    The estimate is the position of the best match within RIGHT_WITHIN metres of it: where that one is right, a mean of
    several would only lie farther from the truth.

    Args:
        matches: as ``PlaceDatabase.search`` gives them, at least one.
        point: the estimate (3,) in metres, as of ``read_points``, where it is known already.
    """
    points = read_points(matches)
    descriptor_distances = matches["descriptor_distance"].to_numpy()
    weights = weigh_matches(read_distances(matches))
    if point is None:
        place = points[np.argmax(measure_nearness(points[:, None], points) @ weights)]
        point = points[np.argmax(measure_distances(points, place) <= RIGHT_WITHIN)]
    distances = measure_distances(points, point)
    here = distances <= RIGHT_WITHIN
    largest = float(descriptor_distances.max())
    best = float(descriptor_distances[here].min()) if here.any() else largest
    next_place = float(descriptor_distances[~here].min()) if not here.all() else largest
    features = {
        "best": best,
        "gap": next_place - best,
        "relative_gap": (next_place - best) / max(next_place, 1e-9),
        "span": (largest - best) / max(largest, 1e-9),
        "spread": float(np.log(np.sqrt(np.average(distances**2, weights=weights)) + SOFTENING)),
        "agreement": min(1.0, float(weights[here].sum())),
    }
    if "strength" in matches.columns and matches["strength"].null_count() == 0:
        features |= describe_verified(matches["strength"].to_numpy(), matches["coverage"].to_numpy(), here)
    return Evidence(point, weights, distances, features)


def describe_verified(strength: Floats, coverage: Floats, here: NDArray[np.bool_]) -> dict[str, float]:
    """Return the features of matches (k,) with verified points, of which some are ``here``, at the place."""
    strongest = int(np.argmax(np.where(here, strength, -1.0)))
    lead = np.log1p(strength[here].max(initial=0.0)) - np.log1p(strength[~here].max(initial=0.0))
    return {
        "strength": float(np.log1p(strength[here].max(initial=0.0))),
        "lead": float(lead),
        "coverage": float(coverage[strongest]) if here.any() else 0.0,
    }


FEATURES = ("best", "gap", "spread", "span", "relative_gap", "agreement", "strength", "lead", "coverage")
"""Names of all features, those of verified matches last."""


def stack_features(evidence: Sequence[Evidence], names: Sequence[str]) -> Floats:
    """Return these features (Q, F) of several queries."""
    return np.array([[item.features[name] for name in names] for item in evidence], dtype=np.float64)


def measure_nearness(points: Floats, others: Floats) -> Floats:
    """Return 1 for points (..., 3) that lie together, falling to 0 beyond REACH metres; broadcast."""
    nearness: Floats = np.exp(-0.5 * (measure_distances(points, others) / REACH) ** 2)
    return nearness
