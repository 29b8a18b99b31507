"""The reranker that compares photos point by point."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Lock

import numpy as np

from progeo.pixels.prefetch import read_ahead
from progeo.search.evidence import Yardstick, fuse
from progeo.search.exact import Floats
from progeo.search.explanation import Explanation, choose_strongest
from progeo.search.keypoints import Keypoints, PointMatches, no_matches
from progeo.search.matching import Method
from progeo.search.rerank import Query, Verification

CANDIDATES = 20
"""How many of the photos found are compared, where nothing else is asked for."""

KeypointsOf = Callable[[Method, str], Keypoints | None]
"""Gives the keypoints of a photo of the database by its path; None where it is gone or damaged."""


class Verifier:
    """Orders candidates by their descriptors and by what their matching points prove. Safe in threads.

    Attributes:
        methods: how photos are compared.
        yardsticks: by a method's name, what wrong pairs of the database reach.
        candidates: how many of the photos found are compared; those behind keep their places.
        skipped: paths of candidates that could not be compared, as their photo is gone or damaged.
    """

    def __init__(
        self,
        methods: Sequence[Method],
        keypoints_of: KeypointsOf,
        *,
        yardsticks: Mapping[str, Yardstick | None] | None = None,
        candidates: int = CANDIDATES,
        num_workers: int | None = 0,
    ) -> None:
        """Keep what is given; ``num_workers`` threads compare the candidates of a query, as in ``read_ahead``."""
        self.methods = list(methods)
        self.yardsticks = dict(yardsticks or {})
        self.candidates = candidates
        self.skipped: set[str] = set()
        self._keypoints_of = keypoints_of
        self._num_workers = num_workers
        self._lock = Lock()

    def __call__(self, query: Query, candidates: Sequence[str], distances: Floats) -> Verification:
        """Return what the candidates' points prove, and the order that follows."""
        compared = candidates[: self.candidates]
        inliers = np.zeros((len(self.methods), len(candidates)), dtype=np.int64)
        coverage = np.zeros_like(inliers, dtype=np.float64)
        found = self.match(query, compared)
        for column, of_methods in enumerate(found):
            for row, points in enumerate(of_methods):
                inliers[row, column], coverage[row, column] = len(points), points.coverage
        yardsticks = [self._find_yardstick(method) for method in self.methods]
        return fuse(distances, inliers, coverage, yardsticks, [method.worth for method in self.methods])

    def match(self, query: Query, paths: Sequence[str]) -> list[list[PointMatches]]:
        """Return for each photo of the database, and each method, the points of the query that agree with it."""
        pixels = query()
        own = [method.extract(pixels) for method in self.methods]
        return list(read_ahead(lambda path: self._match(own, path), paths, num_workers=self._num_workers))

    def explain(self, query: Query, paths: Sequence[str]) -> list[Explanation]:
        """Return for each photo of the database what of it and the query agrees, for people to see."""
        floors = [yardstick.floor if yardstick else None for yardstick in map(self._find_yardstick, self.methods)]
        return [
            choose_strongest([Explanation(points, floor) for points, floor in zip(of_methods, floors, strict=True)])
            for of_methods in self.match(query, paths)
        ]

    def learn(self, pairs: Sequence[tuple[str, str]], advance: Callable[[], object] = lambda: None) -> None:
        """Learn from pairs of photos of the database that look alike and show different places what chance reaches.

        Args:
            pairs: paths; those with a photo that cannot be read are left out.
            advance: called after each pair.
        """

        def match(pair: tuple[str, str]) -> list[int] | None:
            counts = []
            for method in self.methods:
                one, other = (self._keypoints_of(method, path) for path in pair)
                if one is None or other is None:
                    return None
                counts.append(len(method.match(one, other)))
            return counts

        counts = []
        for found in read_ahead(match, pairs, num_workers=self._num_workers):
            advance()
            if found is not None:
                counts.append(found)
        table = np.array(counts, dtype=np.int64).reshape(-1, len(self.methods))
        for method, inliers in zip(self.methods, table.T, strict=True):
            self.yardsticks[method.name] = Yardstick.learn(inliers)

    def _find_yardstick(self, method: Method) -> Yardstick | None:
        return self.yardsticks.get(method.name)

    def _match(self, own: Sequence[Keypoints], path: str) -> list[PointMatches]:
        matches = []
        for method, keypoints in zip(self.methods, own, strict=True):
            other = self._keypoints_of(method, path)
            if other is None:
                with self._lock:
                    self.skipped.add(path)
            matches.append(no_matches() if other is None else method.match(keypoints, other))
        return matches
