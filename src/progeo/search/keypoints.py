"""Keypoints of a photo: points and the local features there, small enough to keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

Points = NDArray[np.float32]


class DamagedKeypointsError(ValueError):
    """What should be keypoints is something else."""


@dataclass(frozen=True, eq=False)
class Keypoints:
    """n points of a photo, the strongest first.

    Attributes:
        points: (n, 2) float32, x and y in the unit of the method: pixels, or cells of the network's grid.
        descriptors: (n, D), what each looks like, as the method compares it; float16 or uint8.
        size: (2,) float32, width and height of the photo in the unit of the points.
    """

    points: Points
    descriptors: NDArray[Any]
    size: Points

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.points)

    @property
    def nbytes(self) -> int:
        """Bytes that they take."""
        return self.points.nbytes + self.descriptors.nbytes + self.size.nbytes

    def first(self, count: int | None) -> Keypoints:
        """Return the strongest ``count`` points; None keeps all."""
        if count is None or len(self) <= count:
            return self
        return Keypoints(self.points[:count].copy(), self.descriptors[:count].copy(), self.size)

    def to_bytes(self) -> bytes:
        """Return them as a small safetensors file."""
        return save({"points": self.points, "descriptors": self.descriptors, "size": self.size})

    @classmethod
    def from_bytes(cls, content: bytes) -> Keypoints:
        """Return what ``to_bytes`` made.

        Raises:
            DamagedKeypointsError: it is something else, or cut short.
        """
        try:
            found = cls(**load(content))
        except (SafetensorError, TypeError) as error:
            raise DamagedKeypointsError(str(error)) from error
        if found.points.shape != (len(found.descriptors), 2) or found.descriptors.ndim != 2:
            raise DamagedKeypointsError(f"{found.points.shape} points and {found.descriptors.shape} descriptors")
        return found


@dataclass(frozen=True, eq=False)
class PointMatches:
    """The points of two photos that agree with one geometry.

    Attributes:
        query: (n, 2) float32, x and y as shares of the photo's width and height, 0 to 1.
        candidate: (n, 2) float32, the same points in the other photo.
    """

    query: Points
    candidate: Points

    def __len__(self) -> int:
        """Return how many points agree."""
        return len(self.query)

    @property
    def coverage(self) -> float:
        """Share of the query's picture, 0 to 1, that the points surround: the area of their convex hull."""
        import cv2

        return float(cv2.contourArea(cv2.convexHull(self.query))) if len(self) > 2 else 0.0


def no_matches() -> PointMatches:
    """Return that nothing agrees."""
    return PointMatches(np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32))
