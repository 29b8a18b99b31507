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
TAIL = 0.9
"""Share of the wrong pairs below the tail, which is taken for exponential."""
MOST_EVIDENCE = 100.0
"""Natural logarithm of how rare inliers are; nobody counts so many pairs."""


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
    distance: float
    """Median Euclidean distance of their descriptors."""

    @classmethod
    def learn(cls, inliers: Integers, distances: Floats) -> Yardstick | None:
        """Return what wrong pairs with so many inliers (n,) at such distances (n,) say; None where they are too few."""
        if len(inliers) < FEWEST_PAIRS:
            return None
        quantiles = np.quantile(inliers, np.arange(1, round(100 * TAIL) + 1) / 100)
        above = inliers[inliers >= quantiles[-1]] - quantiles[-1]
        return cls(
            pairs=len(inliers),
            floor=max(1.0, float(np.quantile(inliers, FLOOR))),
            quantiles=quantiles.tolist(),
            tail=max(1.0, float(above.mean())),
            distance=float(np.median(distances)),
        )

    def measure_surprise(self, inliers: Integers) -> Floats:
        """Return the negative logarithm (k,) of how often wrong pairs have as many inliers (k,), or more."""
        last = self.quantiles[-1]
        below = np.searchsorted(self.quantiles, inliers) / 100
        beyond = -np.log(1 - TAIL) + (inliers - last) / self.tail
        surprise: Floats = np.where(inliers >= last, beyond, -np.log(1 - below))
        return surprise


def fuse(
    distances: Floats,
    inliers: Integers,
    coverage: Floats,
    yardsticks: Sequence[Yardstick | None],
    weights: Sequence[float],
) -> Verification:
    """Join what the descriptors say of one query's candidates with what their matching points prove.

    A candidate's points count by how surprising they would be, were it wrong: the square root of the logarithm, since
    points that agree are no independent witnesses. It is 1 at the floor, and worth ``weights`` times half the squared
    distance of wrong pairs, which is the scale on which this model's descriptors differ in this database. Without a
    yardstick the descriptors decide alone. The form and the weights are of ``benchmarks/rerank.py``.

    Args:
        distances: (k,) Euclidean, of descriptors, rising.
        inliers: (methods, k); 0 for what was not compared.
        coverage: (methods, k), see ``Verification``.
        yardsticks: of each method.
        weights: of each method.
    """
    gains, evidence = np.zeros(len(distances)), np.zeros(len(distances))
    strength = np.zeros(inliers.shape)
    for row, (counts, yardstick, weight) in enumerate(zip(inliers, yardsticks, weights, strict=True)):
        if yardstick is None:
            continue
        strength[row] = counts / yardstick.floor
        surprise = np.minimum(yardstick.measure_surprise(counts), MOST_EVIDENCE)
        gains += weight * yardstick.distance**2 / 2 * np.sqrt(surprise / -np.log(1 - FLOOR))
        evidence += surprise
    # But for a constant, the cosine of unit vectors is less half their squared distance.
    scores = gains - distances.astype(np.float64) ** 2 / 2
    says_most = (strength if strength.any() else inliers).argmax(axis=0), np.arange(len(distances))
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
    sample: Integers, found: Integers, distances: Floats, is_far: Callable[[int, Integers], NDArray[np.bool_]]
) -> tuple[Integers, Floats]:
    """Return pairs of photos that look alike and show different places.

    Args:
        sample: (S,) rows of the database.
        found: (S, K) rows of the photos most similar to each of them, nearest first.
        distances: (S, K) of their descriptors.
        is_far: whether photos, by their rows (K,), are surely of another place than a photo, by its row.

    Returns:
        Rows of the database (n, 2), and the distances (n,) of the descriptors.
    """
    pairs, apart = [], []
    for row, others, at in zip(sample.tolist(), found, distances, strict=True):
        far = np.flatnonzero(is_far(row, others))[:PAIRS_PER_PHOTO]
        pairs += [(row, other) for other in others[far].tolist()]
        apart += at[far].tolist()
    return np.array(pairs, dtype=np.int64).reshape(-1, 2), np.array(apart)
