"""Why two photos are said to show the same place, for people to see: the points that agree, and what they prove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from progeo.console import format_count
from progeo.search.exact import Integers
from progeo.search.keypoints import PointMatches, Points

MOST_SHOWN = 48
"""More lines than this hide the photos they lie on."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """What of a query and a photo of the database agrees, by the method that says most."""

    points: PointMatches
    floor: float | None
    """Points that hardly any wrong pair of this database reaches; None where that is not known."""

    @property
    def strength(self) -> float:
        """The points as a multiple of the floor; 0 where that is not known."""
        return len(self.points) / self.floor if self.floor else 0.0

    def describe(self) -> str:
        """Return one sentence for people who know nothing of keypoints."""
        return describe_points(len(self.points), self.floor)

    def to_dict(self) -> dict[str, Any]:
        """Return what a page shows: the sentence, and points of both photos as shares of width and height."""
        shown = spread(self.points.query, MOST_SHOWN)
        photos = (self.points.query, self.points.candidate)
        query, match = (points[shown].astype(float).round(4).tolist() for points in photos)
        counts = {"count": len(self.points), "floor": self.floor}
        return {**counts, "text": self.describe(), "query": query, "match": match}


def choose_strongest(found: Sequence[Explanation]) -> Explanation:
    """Return of several methods' explanations of one pair the one that says most, as ``fuse`` takes it."""
    if any(one.strength for one in found):
        return max(found, key=lambda one: one.strength)
    return max(found, key=lambda one: len(one.points))


def describe_points(count: int, floor: float | None) -> str:
    """Return in one sentence what so many points that agree prove.

    Args:
        count: how many agree.
        floor: see ``Explanation``.
    """
    if count == 0:
        return "No details fit together: the photos are alike only as a whole."
    fit = "1 detail fits together" if count == 1 else f"{format_count(count, 'detail')} fit together"
    if floor is None:
        return f"{fit}; how many do by chance in this database is not known."
    if count >= floor:
        return f"{fit}; photos of different places hardly ever share {floor:,.0f}."
    return f"{fit}, which proves little: photos of different places can share up to {floor:,.0f}."


def spread(points: Points, most: int) -> Integers:
    """Return the rows of at most so many points (n, 2) that lie far from each other, the first of them first."""
    count = min(most, len(points))
    rows = np.zeros(count, dtype=np.int64)
    nearest = np.full(len(points), np.inf)
    for number in range(1, count):
        nearest = np.minimum(nearest, ((points - points[rows[number - 1]]) ** 2).sum(axis=1))
        rows[number] = nearest.argmax()
    return rows
