"""Two ways to compare two photos point by point: features of the model's own network, and SIFT.

Both pair the points that are each other's nearest, and keep those that agree with one geometry, found by a seeded
RANSAC: the same two photos give the same answer, in any order and in any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from progeo.errors import require
from progeo.search.evidence import Worth
from progeo.search.keypoints import Keypoints, PointMatches, no_matches

Pixels = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]
Pairs = NDArray[np.int64]

SEED = 0


class Method(Protocol):
    """How photos are described by points, and how two are compared.

    Attributes:
        name: what users call it.
        key: what its features depend on beside the photo.
        worth: what its points are worth.
    """

    name: str
    key: str
    worth: Worth

    def extract(self, pixels: Pixels) -> Keypoints:
        """Return the local features of a photo, uint8 (H, W, 3)."""

    def match(self, query: Keypoints, candidate: Keypoints) -> PointMatches:
        """Return the points of two photos that agree; none where nothing does."""


class DenseMethod:
    """Features of the model's own network, one a cell of its grid, and a homography."""

    name = "dense"
    worth = Worth(weight=2.0, lowest=0.0, highest=1.5)
    within = 1.5
    """Cells that a point may lie off the homography."""

    def __init__(self, describe: Callable[[Pixels], Floats], key: str) -> None:
        """Keep what describes a photo, uint8 (H, W, 3), by a grid of features (h, w, C), and what that depends on."""
        self._describe = describe
        self.key = f"dense {key}"

    def extract(self, pixels: Pixels) -> Keypoints:
        """Return one feature a cell, of length 1, those that stand out from the photo's mean first."""
        grid = self._describe(pixels).astype(np.float32)
        height, width, channels = grid.shape
        rows = grid.reshape(-1, channels)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        y, x = np.divmod(np.arange(len(rows)), width)
        strongest = np.argsort(rows @ rows.mean(axis=0), kind="stable")
        points = np.stack([x, y], axis=1)[strongest] + 0.5
        size = np.array([width, height], np.float32)
        return Keypoints(points.astype(np.float32), rows[strongest].astype(np.float16), size)

    def match(self, query: Keypoints, candidate: Keypoints) -> PointMatches:
        """Return the cells that agree with one homography."""
        if min(len(query), len(candidate)) == 0:
            return no_matches()
        similarity = query.descriptors.astype(np.float32) @ candidate.descriptors.astype(np.float32).T
        pairs = pair_mutually(similarity)
        return keep_agreeing(query, candidate, pairs, homography=True, within=self.within)


class SiftMethod:
    """SIFT of OpenCV (Lowe, IJCV 2004), compared as RootSIFT (Arandjelovic and Zisserman, CVPR 2012)."""

    name = "sift"
    worth = Worth(weight=1.5, lowest=0.0, highest=0.7)
    most_points = 1000
    ratio = 0.9
    """Of the distances to the nearest and to the second nearest point, above which a pair is ambiguous."""
    within = 1.5
    """Pixels that a point may lie off the line on which the other photo sees it."""

    def __init__(self, key: str = "") -> None:
        """Check that OpenCV is there; ``key`` says how photos are read."""
        self._cv2 = require("cv2", "Re-ranking by SIFT")
        self.key = f"sift {self.most_points} {key}"

    def extract(self, pixels: Pixels) -> Keypoints:
        """Return the strongest points; none of a photo without texture."""
        cv2 = self._cv2
        height, width = pixels.shape[:2]
        size = np.array([width, height], np.float32)
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        try:
            found, descriptors = cv2.SIFT_create(self.most_points).detectAndCompute(grey, None)
        except cv2.error:
            found, descriptors = (), None
        if descriptors is None or len(found) == 0:
            return Keypoints(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8), size)
        strongest = np.argsort([-point.response for point in found], kind="stable")
        points = np.array([point.pt for point in found], np.float32)[strongest]
        return Keypoints(points, descriptors[strongest].astype(np.uint8), size)

    def match(self, query: Keypoints, candidate: Keypoints) -> PointMatches:
        """Return the points that agree with one fundamental matrix."""
        if min(len(query), len(candidate)) < 2:
            return no_matches()
        similarity = _to_root(query.descriptors) @ _to_root(candidate.descriptors).T
        pairs = pair_mutually(similarity)
        rows, columns = pairs.T
        best = similarity[rows, columns]
        second = np.partition(similarity[rows], -2, axis=1)[:, -2]
        # Of unit vectors, the square of the distance is 2 - 2 * similarity.
        clear = (1 - best) <= self.ratio**2 * (1 - second)
        return keep_agreeing(query, candidate, pairs[clear], homography=False, within=self.within)


class LightGlueMethod:
    """Points and pairs of two networks, DISK and LightGlue, and a fundamental matrix."""

    name = "lightglue"
    worth = Worth(weight=1.0, lowest=0.5, highest=2.0)
    within = 1.5
    """Pixels that a point may lie off the line on which the other photo sees it."""

    def __init__(self, key: str, device: str) -> None:
        """Load the networks; ``key`` says how photos are read."""
        from progeo.models.lightglue import MOST_POINTS, LightGlue

        self._networks = LightGlue(device)
        self.key = f"lightglue {MOST_POINTS} {key}"

    def extract(self, pixels: Pixels) -> Keypoints:
        """Return the strongest points."""
        points, descriptors = self._networks.extract(pixels)
        size = np.array(pixels.shape[1::-1], np.float32)
        return Keypoints(points.astype(np.float32), descriptors.astype(np.float16), size)

    def match(self, query: Keypoints, candidate: Keypoints) -> PointMatches:
        """Return the points that the network pairs, and that agree with one fundamental matrix."""
        if min(len(query), len(candidate)) == 0:
            return no_matches()
        photos = [(photo.points, photo.descriptors, photo.size) for photo in (query, candidate)]
        pairs = self._networks.pair(*photos)
        return keep_agreeing(query, candidate, pairs, homography=False, within=self.within)


def _to_root(descriptors: NDArray[Any]) -> Floats:
    """Return SIFT descriptors (n, 128) as RootSIFT, of length 1."""
    values = descriptors.astype(np.float32)
    root: Floats = np.sqrt(values / np.maximum(values.sum(axis=1, keepdims=True), 1e-9))
    return root


def pair_mutually(similarity: Floats) -> Pairs:
    """Return which rows and columns of a matrix (n, m) are each other's most similar: (p, 2)."""
    of_row, of_column = similarity.argmax(axis=1), similarity.argmax(axis=0)
    rows = np.flatnonzero(of_column[of_row] == np.arange(len(similarity)))
    return np.stack([rows, of_row[rows]], axis=1)


def keep_agreeing(
    query: Keypoints, candidate: Keypoints, pairs: Pairs, *, homography: bool, within: float
) -> PointMatches:
    """Return the pairs of points that agree with one homography, else with one fundamental matrix.

    Args:
        query: points of a photo.
        candidate: points of another one.
        pairs: (p, 2) rows of the two.
        homography: which geometry: that of a plane or a turned camera, or that of any rigid scene.
        within: distance from it, in the unit of the points, up to which a pair agrees.
    """
    cv2 = require("cv2", "Re-ranking")
    if len(pairs) < (4 if homography else 8):
        return no_matches()
    source, target = query.points[pairs[:, 0]], candidate.points[pairs[:, 1]]
    cv2.setRNGSeed(SEED)
    try:
        if homography:
            model, mask = cv2.findHomography(source, target, cv2.USAC_DEFAULT, within, maxIters=1000, confidence=0.999)
        else:
            model, mask = cv2.findFundamentalMat(source, target, cv2.USAC_MAGSAC, within, 0.999, 1000)
    except cv2.error:  # OpenCV 5 raises it where no geometry fits, as of points on one line
        return no_matches()
    if model is None or mask is None:
        return no_matches()
    agree = mask.ravel().astype(bool)
    return PointMatches(source[agree] / query.size, target[agree] / candidate.size)
