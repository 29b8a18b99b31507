"""Principal components of descriptors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

NARROWEST = 1e-4
"""Of the widest direction's length."""


class Components(NamedTuple):
    """A projection: what to subtract, and the directions to project on, scaled where they whiten."""

    mean: Array
    """(D,)"""
    directions: Array
    """(K, D), the widest first; fewer where the descriptors span fewer, as copies of one photo do."""
    kept: float
    """Share of the variance that lies in these directions, 0 to 1."""


def find_components(descriptors: Array, count: int, whitening: float = 0.0) -> Components:
    """Return the ``count`` directions in which descriptors (N, D) vary most.

    The smaller of the two scatter matrices is decomposed: (N, N) where there are fewer descriptors than dimensions.

    Args:
        descriptors: one row a photo.
        count: K, at most N - 1 and D.
        whitening: power of the standard deviation that each direction is divided by: 0 none, 1 all.
    """
    from scipy.linalg import eigh

    mean = descriptors.mean(axis=0, dtype=np.float64)
    centred = descriptors - mean
    rows, columns = centred.shape
    scatter = centred.T @ centred if columns <= rows else centred @ centred.T
    first = len(scatter) - count
    variances, vectors = eigh(scatter, subset_by_index=[first, len(scatter) - 1])
    variances, vectors = variances[::-1], vectors[:, ::-1]
    lengths = np.sqrt(np.maximum(variances, 0))
    is_real = lengths > NARROWEST * lengths[0]  # what is narrower is rounding, which whitening would blow up
    variances, vectors, lengths = variances[is_real], vectors[:, is_real], lengths[is_real]
    directions = (vectors if columns <= rows else centred.T @ vectors / lengths).T
    # The sign of an eigenvector is anybody's choice: the largest entry is positive.
    largest = np.abs(directions).argmax(axis=1)
    directions = directions * np.sign(directions[np.arange(len(directions)), largest])[:, None]
    directions = directions / (lengths / np.sqrt(rows - 1))[:, None] ** whitening
    kept = float(variances.sum() / np.trace(scatter))
    return Components(mean.astype(np.float32), directions.astype(np.float32), kept)
