"""Photos that are the same file, or look the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from progeo.data.tools.looks import WORDS, Looks

Integers = npt.NDArray[np.int64]

MOST_BITS = WORDS - 1
"""Looks that differ in at most this many of their 128 bits are near duplicates.

One bit less than a look has words: two such looks agree in one word at least, so that only these need be compared.
"""
BITS_SET = np.array([number.bit_count() for number in range(1 << 16)], dtype=np.uint8)


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Pairs of photos: (P, 2) int64, rows of the image table, the first of which is the smaller; no second twice."""

    exact: Integers
    near: Integers


def find_duplicates(looks: Looks) -> Duplicates:
    """Pair each photo whose file was there before with the first such file, and those that look the same.

    Of photos that are the same file, only the first is compared by its look.
    """
    rows = pl.DataFrame({"content": looks.contents}).with_row_index("row").drop_nulls()
    first = rows.with_columns(first=pl.col("row").min().over("content"))
    exact = first.filter(pl.col("row") != pl.col("first")).select("first", "row").to_numpy().astype(np.int64)
    compared = looks.comparable.copy()
    compared[exact[:, 1]] = False
    candidates = np.flatnonzero(compared)
    return Duplicates(exact, candidates[find_near(looks.looks[candidates])])


def find_near(looks: npt.NDArray[np.uint16], most_bits: int = MOST_BITS) -> Integers:
    """Pair each of the looks (I, WORDS) with the first before it that differs in at most ``most_bits`` bits.

    All pairs that there are would be too many: a thousand photos from one parked car make half a million. Where looks
    are equal, only the first of them is compared with others.

    Returns:
        int64 (P, 2), ascending.
    """
    _, first, back = np.unique(looks, axis=0, return_index=True, return_inverse=True)
    firsts = first[back.reshape(-1)]
    repeated = np.flatnonzero(firsts != np.arange(len(looks)))
    rows = np.sort(first)
    unique = looks[rows]
    earliest = np.full(len(rows), len(rows))
    for word in range(WORDS):
        order = np.argsort(unique[:, word], kind="stable")
        values = unique[order, word]
        # Equal words stand side by side: all are compared with the first of them, the rest with the second, ...
        places, starts = np.arange(len(order)), np.searchsorted(values, values)
        while len(places):
            places = places[starts[places] < places]
            one, other = order[starts[places]], order[places]
            near = BITS_SET[unique[one] ^ unique[other]].sum(axis=1) <= most_bits
            earliest[other[near]] = np.minimum(earliest[other[near]], one[near])
            places = places[~near]
            starts += 1
    found = np.flatnonzero(earliest < len(rows))
    pairs = [np.stack([firsts[repeated], repeated], axis=1), np.stack([rows[earliest[found]], rows[found]], axis=1)]
    return np.unique(np.concatenate(pairs), axis=0).astype(np.int64)
