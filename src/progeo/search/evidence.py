"""What matching points prove: measured against pairs of the user's own photos that look alike and show other places.

How many points agree by chance depends on the photos: a watermark or the frame of a fisheye agrees everywhere. So no
number of points is enough by itself. Photos of a database have positions, and those far apart are known to be wrong
pairs, without any label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from progeo.search.exact import Floats, Integers
from progeo.search.rerank import Verification

SAMPLE = 300
"""Photos of the database that wrong pairs are sought for."""
PAIRS_PER_PHOTO = 2
LOOKED_THROUGH = 100
"""Most similar photos among which those far apart are sought."""
FEWEST_PAIRS = 20
"""Below it wrong pairs say too little, and nothing is held against them."""
FLOOR = 0.995
"""Share of the wrong pairs that stay below the floor."""
TAIL = 0.9
"""Share of the wrong pairs below the tail, which is taken for exponential."""
MOST_EVIDENCE = 12.0
"""Natural logarithm: one pair cannot prove more, as photos far apart can show the same thing."""
WEIGHT = 0.2
"""What as many matching points as any candidate has are worth, as a cosine of descriptors."""


@dataclass(frozen=True)
class Yardstick:
    """What wrong pairs of one database reach by one method."""

    pairs: int
    """How many were compared."""
    floor: float
    """Inliers that 99.5 % of them stay below."""
    quantiles: list[float]
    """Inliers that 1, 2, … 90 % of them reach at most."""
    tail: float
    """Mean number of inliers by which the others exceed the last quantile."""

    @classmethod
    def learn(cls, inliers: Integers) -> Yardstick | None:
        """Return what wrong pairs with so many inliers (n,) say; None where they are too few."""
        if len(inliers) < FEWEST_PAIRS:
            return None
        shares = np.arange(1, round(100 * TAIL) + 1) / 100
        quantiles = np.quantile(inliers, shares)
        above = inliers[inliers >= quantiles[-1]] - quantiles[-1]
        return cls(len(inliers), float(np.quantile(inliers, FLOOR)), quantiles.tolist(), max(float(above.mean()), 1.0))

    def measure_surprise(self, inliers: Integers) -> Floats:
        """Return the negative logarithm (k,) of how often wrong pairs have as many inliers (k,) as these, or more."""
        last = self.quantiles[-1]
        share = np.searchsorted(self.quantiles, inliers) / 100
        beyond = -np.log(1 - TAIL) + (inliers - last) / self.tail
        surprise: Floats = np.where(inliers >= last, beyond, -np.log(1 - np.minimum(share, TAIL)))
        return surprise

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, for ``Yardstick(**…)``."""
        return asdict(self)


def fuse(
    distances: Floats,
    inliers: Integers,
    coverage: Floats,
    yardsticks: Sequence[Yardstick | None],
) -> Verification:
    """Join what the descriptors say of one query's candidates with what their matching points prove.

    The inliers of each method are taken as shares of the most that any candidate has, or of the floor where that is
    more: then none of them has proved anything, and the descriptors decide.

    Args:
        distances: (k,) Euclidean, of descriptors, rising.
        inliers: (methods, k); 0 for what was not compared.
        coverage: (methods, k), see ``Verification``.
        yardsticks: of each method.
    """
    floors = np.array([1.0 if yardstick is None else max(yardstick.floor, 1.0) for yardstick in yardsticks])
    most = np.maximum(inliers.max(axis=1), floors)
    similarity = -(distances.astype(np.float64) ** 2) / 2  # but for a constant, the cosine of unit vectors
    scores = similarity + WEIGHT * (inliers / most[:, None]).mean(axis=0)
    evidence = np.zeros(len(distances))
    for yardstick, counts in zip(yardsticks, inliers, strict=True):
        if yardstick is not None:
            evidence += np.minimum(yardstick.measure_surprise(counts), MOST_EVIDENCE)
    strength = inliers / floors[:, None]
    says_most = strength.argmax(axis=0), np.arange(len(distances))
    return Verification(
        order=np.argsort(-scores, kind="stable"),
        distances=scores.max() - scores,
        evidence=evidence,
        inliers=inliers[says_most],
        strength=strength[says_most],
        coverage=coverage[says_most],
    )


def choose_sample(photos: int, seed: int = 0) -> Integers:
    """Return which of so many photos wrong pairs are sought for: rows (S,), rising."""
    return np.sort(np.random.default_rng(seed).permutation(photos)[:SAMPLE])


def find_wrong_pairs(
    sample: Integers, found: Integers, is_far: Callable[[int, Integers], NDArray[np.bool_]]
) -> Integers:
    """Return pairs of photos that look alike and show different places, by their rows in the database: (n, 2).

    Args:
        sample: (S,) rows of the database.
        found: (S, K) rows of the photos most similar to each of them, nearest first.
        is_far: whether photos, by their rows (K,), are surely of another place than a photo, by its row.
    """
    pairs = []
    for row, others in zip(sample.tolist(), found, strict=True):
        far = others[is_far(row, others)][:PAIRS_PER_PHOTO]
        pairs += [(row, other) for other in far.tolist()]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)
