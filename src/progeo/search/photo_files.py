"""Keypoints of photos that are files."""

from __future__ import annotations

from collections.abc import Callable

from progeo.errors import ProgeoError
from progeo.search.keypoint_cache import KeypointCache, identify_file
from progeo.search.keypoints import Keypoints
from progeo.search.matching import Method, Pixels


class PhotoFiles:
    """Gives keypoints of photo files, out of a cache where they are there."""

    def __init__(self, read: Callable[[str], Pixels], cache: KeypointCache) -> None:
        """Keep what reads a photo by its path, and where keypoints are kept."""
        self._read = read
        self._cache = cache

    def __call__(self, method: Method, path: str) -> Keypoints | None:
        """Return the keypoints of a photo; None where it is gone or damaged."""
        try:
            return self._cache.get(method, identify_file(path), lambda: method.extract(self._read(path)))
        except (ProgeoError, OSError):
            return None
