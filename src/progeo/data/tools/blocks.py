"""Parts of a set that lie apart from each other on the ground: train, val and test.

Photos are put into cells, cells into blocks that hang together, and whole blocks are drawn for each part. What then
lies too near to another part belongs to none.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from progeo.data.zones import BETWEEN_ZONES

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

PARTS = ("train", "val", "test")
TRAIN, VAL, TEST = range(3)
NO_PART = -1
DRAWS = 50
MOST_WEIGHED = 20_000
"""Photos by which a draw is weighed: all of them, or this many picked at random."""


def draw_parts(
    points: Floats, shares: tuple[float, float, float], *, buffer: float, cell: float, seed: int
) -> Integers:
    """Draw train, val and test, at least ``buffer`` metres apart from each other.

    Of DRAWS seeded draws the one is taken that leaves most photos where the shares want them. Between two parts it is
    the photos of train that go, or else those of val, so that the small parts stay whole.

    Args:
        points: float64 (I, 2) or (I, 3), from ``read_points``.
        shares: of all photos, for train, val and test; they add up to 1.
        buffer: metres between parts.
        cell: side of a cell in metres; its photos stay together.
        seed: what the draws follow from.

    Returns:
        int64 (I,): TRAIN, VAL, TEST or NO_PART.
    """
    generator = np.random.default_rng(seed)
    blocks = make_blocks(points, buffer=buffer, cell=cell, largest=min(shares[VAL:]) * len(points))
    sizes = np.bincount(blocks)
    weighed = np.arange(len(points))
    if len(points) > MOST_WEIGHED:
        weighed = generator.choice(len(points), MOST_WEIGHED, replace=False)
    wanted = np.array(shares) * len(weighed)
    best, most = np.full(len(sizes), TRAIN), -1.0
    for _ in range(DRAWS):
        drawn = np.full(len(sizes), TRAIN)
        for part in (TEST, VAL):
            free = np.flatnonzero(drawn == TRAIN)
            drawn[free[draw_until(sizes[free], shares[part] * len(points), generator)]] = part
        left = separate(points[weighed], drawn[blocks[weighed]], buffer)
        # Of each part only as much counts as was asked for, and all three must be there.
        counts = np.bincount(left[left != NO_PART], minlength=3)
        fit = float(np.minimum(counts, wanted).sum()) if counts.all() else 0.0
        if fit > most:
            best, most = drawn, fit
    return separate(points, best[blocks], buffer)


def make_blocks(points: Floats, *, buffer: float, cell: float, largest: float) -> Integers:
    """Put photos into blocks of neighbouring cells, int64 (I,), numbered from 0.

    Photos with a gap of some buffers between them are in different blocks, as they can be in different parts at no
    cost. What hangs together is halved across its longer side until a block holds at most ``largest`` photos, or one
    cell.
    """
    coarse, grid_of_photo = _grid(points, max(buffer, cell))
    pairs = cKDTree(coarse).query_pairs(1.5, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(coarse), len(coarse)))
    regions = connected_components(links, directed=False)[1][grid_of_photo]

    cells, cell_of_photo = _grid(np.column_stack([points, regions * BETWEEN_ZONES]), cell)
    counts = np.bincount(cell_of_photo)
    block_of_cell = np.zeros(len(cells), np.int64)
    pending = [np.flatnonzero(cells[:, -1] == region) for region in np.unique(cells[:, -1])]
    number = 0
    while pending:
        members = pending.pop()
        if counts[members].sum() <= largest or len(members) == 1:
            block_of_cell[members] = number
            number += 1
            continue
        axis = np.ptp(cells[members, :2], axis=0).argmax()
        order = members[np.argsort(cells[members, axis], kind="stable")]
        before = np.cumsum(counts[order])[:-1]
        cut = int(np.abs(before - before[-1] / 2).argmin()) + 1
        pending += [order[:cut], order[cut:]]
    return block_of_cell[cell_of_photo]


def separate(points: Floats, parts: Integers, buffer: float) -> Integers:
    """Return the parts without the photos that stand less than ``buffer`` metres from a part that goes before theirs.

    Test goes before val, and both before train.
    """
    parts = parts.copy()
    for part in (VAL, TRAIN):
        before, rows = points[parts > part], np.flatnonzero(parts == part)
        if len(before) and len(rows):
            distances, _ = cKDTree(before).query(points[rows], distance_upper_bound=max(buffer, 1e-9))
            parts[rows[np.isfinite(distances)]] = NO_PART
    return parts


def draw_until(sizes: Integers, wanted: float, generator: np.random.Generator) -> Booleans:
    """Draw items at random until their sizes come as near to ``wanted`` as they can, bool (n,); at least one."""
    chosen = np.zeros(len(sizes), bool)
    total = 0
    for item in generator.permutation(len(sizes)):
        if total + sizes[item] / 2 <= wanted:
            chosen[item] = True
            total += sizes[item]
    if len(sizes) and not chosen.any():
        chosen[sizes.argmin()] = True
    return chosen


def _grid(points: Floats, side: float) -> tuple[Floats, Integers]:
    """Return the cells that hold points, as whole numbers (C, d), and for each point the row of its cell."""
    cells, rows = np.unique(np.floor(points / side), axis=0, return_inverse=True)
    return cells, rows.reshape(-1)
