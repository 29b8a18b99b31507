"""What matching points prove: measured against pairs of the user's own photos that look alike and show other places.

How many points agree by chance depends on the photos: a watermark or the frame of a fisheye agrees everywhere. So no
number of points is enough by itself. Photos of a database have positions, and those far apart are known to be wrong
pairs, without any label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
"""Below it wrong pairs say too little, and the descriptors alone decide."""
FLOOR = 0.995
"""Share of the wrong pairs that stay below the floor."""
SPREAD_OVER = 20
"""Candidates from the first to the last of which descriptors count as spread."""


@dataclass(frozen=True)
class Yardstick:
    """What wrong pairs of one database reach by one method."""

    pairs: int
    """How many were compared."""
    floor: float
    """Inliers that 99.5 % of them stay below."""

    @classmethod
    def learn(cls, inliers: Integers) -> Yardstick | None:
        """Return what wrong pairs with so many inliers (n,) say; None where they are too few."""
        if len(inliers) < FEWEST_PAIRS:
            return None
        return cls(pairs=len(inliers), floor=max(1.0, float(np.quantile(inliers, FLOOR))))


@dataclass(frozen=True)
class Worth:
    """What the points of a method are worth: see ``fuse``."""

    weight: float
    lowest: float
    """Share of the floor up to which they say nothing."""
    highest: float
    """Multiple of the floor from which more of them say no more."""


def fuse(
    distances: Floats,
    inliers: Integers,
    coverage: Floats,
    yardsticks: Sequence[Yardstick | None],
    worths: Sequence[Worth],
) -> Verification:
    """Join what the descriptors say of one query's candidates with what their matching points prove.

    A candidate's points count in multiples of the floor, between the lowest and the highest that say anything, times a
    weight, times what the descriptors' half squared distances differ by from the first to the twentieth candidate: so
    that it suits any model and any database. Photos of other places reach the floor where they show the same things
    from afar, so more points than the highest prove no more. Without a yardstick the descriptors decide alone.

    Args:
        distances: (k,) Euclidean, of descriptors, rising.
        inliers: (methods, k); 0 for what was not compared.
        coverage: (methods, k), see ``Verification``.
        yardsticks: of each method.
        worths: of each method. Form and values were chosen on real photos: see ``docs/benchmarks.md``.
    """
    halves = distances.astype(np.float64) ** 2 / 2  # but for a constant, the cosine of unit vectors, negated
    spread = halves[min(SPREAD_OVER, len(halves)) - 1] - halves[0]
    known = any(yardstick is not None for yardstick in yardsticks)
    strength, gains = np.zeros(inliers.shape), np.zeros(len(distances))
    for row, (yardstick, worth) in enumerate(zip(yardsticks, worths, strict=True)):
        if yardstick is not None:
            strength[row] = inliers[row] / yardstick.floor
            gains += worth.weight * spread * (np.clip(strength[row], worth.lowest, worth.highest) - worth.lowest)
    scores = gains - halves
    says_most = (strength if strength.any() else inliers).argmax(axis=0), np.arange(len(distances))
    return Verification(
        order=np.argsort(-scores, kind="stable"),
        distances=scores.max() - scores,
        inliers=inliers[says_most],
        strength=strength[says_most] if known else np.full(len(distances), np.nan),
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
