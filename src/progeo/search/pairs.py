"""Pairs of photos that may show the same, for programs that reconstruct places from photos: hloc, COLMAP, pycolmap.

A pair file has two names a line, with one blank between, relative to the folder of the images: that is all that each of
these programs reads. Descriptors are written as hloc keeps them: HDF5, a group for each name, ``global_descriptor``.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from progeo.errors import ProgeoError, require
from progeo.files import atomic_write
from progeo.search.exact import search

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Pair:
    """Two photos that look alike, or follow each other."""

    first: str
    second: str
    similarity: float
    """Of their descriptors, -1 to 1."""


def find_pairs(
    names: Sequence[str],
    descriptors: Floats,
    *,
    top: int = 20,
    min_similarity: float = -1.0,
    points: NDArray[np.float64] | None = None,
    max_distance: float | None = None,
    order: Sequence[int] | None = None,
    neighbours: int = 0,
) -> list[Pair]:
    """Return each photo with those most like it; no pair twice, and none of a photo with itself.

    Args:
        names: N photos.
        descriptors: float32 (N, D) of length 1.
        top: others for each photo.
        min_similarity: pairs that look less alike are left out.
        points: (N, 3) in metres, NaN where a position is not known.
        max_distance: metres; pairs farther apart are left out where both positions are known.
        order: rows in the order in which they were taken.
        neighbours: of each photo, so many that come next in that order are added, whatever they look like.
    """
    distances, rows = search(descriptors, descriptors, min(len(names), _widen(top, max_distance, len(names))))
    pairs: dict[tuple[int, int], float] = {}
    for row, (others, apart) in enumerate(zip(rows, distances, strict=True)):
        taken = 0
        for other, distance in zip(others.tolist(), apart.tolist(), strict=True):
            similarity = 1 - distance**2 / 2
            if other == row or similarity < min_similarity or _is_far(points, points, row, other, max_distance):
                continue
            pairs.setdefault((min(row, other), max(row, other)), similarity)
            taken += 1
            if taken == top:
                break
    for place, row in enumerate(order or ()):
        for other in (order or ())[place + 1 : place + 1 + neighbours]:
            key = (min(row, other), max(row, other))
            pairs.setdefault(key, float(descriptors[row] @ descriptors[other]))
    return [Pair(names[first], names[second], similarity) for (first, second), similarity in sorted(pairs.items())]


def find_query_pairs(
    names: Sequence[str],
    descriptors: Floats,
    queries: Sequence[str],
    query_descriptors: Floats,
    *,
    top: int = 20,
    min_similarity: float = -1.0,
    points: NDArray[np.float64] | None = None,
    query_points: NDArray[np.float64] | None = None,
    max_distance: float | None = None,
) -> list[Pair]:
    """Return each query with the photos most like it, best first; arguments as for ``find_pairs``."""
    distances, rows = search(descriptors, query_descriptors, _widen(top, max_distance, len(names)))
    pairs = []
    for query, (others, apart) in enumerate(zip(rows, distances, strict=True)):
        found = [
            Pair(queries[query], names[other], 1 - distance**2 / 2)
            for other, distance in zip(others.tolist(), apart.tolist(), strict=True)
            if queries[query] != names[other] and not _is_far(query_points, points, query, other, max_distance)
        ]
        pairs += [pair for pair in found if pair.similarity >= min_similarity][:top]
    return pairs


def _widen(top: int, max_distance: float | None, count: int) -> int:
    """Return how many to look for, so that enough are left; a photo finds itself first."""
    return count if max_distance is not None else min(top + 1, count)


def _is_far(
    points: NDArray[np.float64] | None, others: NDArray[np.float64] | None, row: int, other: int, limit: float | None
) -> bool:
    if limit is None or points is None or others is None:
        return False
    return bool(np.linalg.norm(points[row] - others[other]) > limit)  # not so where a position is NaN


def check_names(names: Sequence[str]) -> None:
    """Raise an error that names the photos whose names hold white space, which pair files cannot hold."""
    blank = [name for name in names if len(name.split()) != 1]
    if blank:
        shown = ", ".join(repr(name) for name in blank[:5])
        raise ProgeoError(
            f"{len(blank):,} of {len(names):,} names hold blanks, which pair files cannot hold: {shown}. Please rename "
            "these files or folders."
        )


def write_pairs(pairs: Sequence[Pair], path: str | Path) -> None:
    """Write a pair file.

    Raises:
        ProgeoError: it cannot be written.
    """
    with atomic_write(path) as temporary:
        text = "".join(f"{pair.first} {pair.second}\n" for pair in pairs)
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_scores(pairs: Sequence[Pair], path: str | Path) -> None:
    """Write how alike the photos of each pair are, as CSV: a third column in the pair file would break its readers.

    Raises:
        ProgeoError: it cannot be written.
    """
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["first", "second", "similarity"])
        writer.writerows([pair.first, pair.second, f"{pair.similarity:.4f}"] for pair in pairs)


def write_descriptors(names: Sequence[str], descriptors: Floats, path: str | Path) -> None:
    """Write descriptors as hloc keeps global ones.

    Raises:
        ProgeoError: h5py is not installed, or the file cannot be written.
    """
    h5py: Any = require("h5py", "Writing descriptors for hloc")
    with atomic_write(path) as temporary, h5py.File(temporary, "w") as file:
        for name, descriptor in zip(names, descriptors, strict=True):
            file.create_group(name).create_dataset("global_descriptor", data=descriptor.astype(np.float16))
