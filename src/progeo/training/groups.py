"""CosPlace classes and groups: a training set cut into places, and the places into groups without neighbours.

Source: Berton, Masone and Caputo, "Rethinking Visual Geo-localization for Large-Scale Applications", CVPR 2022,
section 3: a class is a cell of M x M metres and alpha degrees; a group takes every N-th cell in both directions and
every L-th heading, so that no two of its classes are neighbours.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from progeo.data.zones import number_zones
from progeo.errors import ProgeoError

Integers = npt.NDArray[np.int64]

CELLS_BETWEEN_ZONES = 5_040_000
"""Cells that the classes of one UTM zone are set off to the east of those of the one before, so that they differ.

More than a zone is wide, and a multiple of every N up to 10: groups stay those of the plain coordinates."""


@dataclass(frozen=True)
class Group:
    """The classes of one CosPlace group and the images of each.

    Attributes:
        key: position of the group among all groups: (east mod N, north mod N, heading mod L), in cells; of places, the
            group's number.
        classes: (C, 3) int64, lower corner of each class: UTM east and north in metres, heading in degrees; ascending.
            Where the images are in several UTM zones, M * CELLS_BETWEEN_ZONES is added to east per zone. Of places
            (C, 1), the number of each.
        images: (I,) int64, rows of the image table, class after class.
        offsets: (C + 1,) int64, where each class starts in ``images``.
    """

    key: tuple[int, ...]
    classes: Integers
    images: Integers
    offsets: Integers

    def __len__(self) -> int:
        """Return the number of classes."""
        return len(self.classes)

    def images_of(self, class_index: int) -> Integers:
        """Return the rows of the image table that belong to a class."""
        return self.images[self.offsets[class_index] : self.offsets[class_index + 1]]


def assign_cells(table: pl.DataFrame, M: int, alpha: int) -> Integers:
    """Return the cell of each image, (I, 3): floor(east / M), floor(north / M), floor(heading / alpha).

    Where the images are in several UTM zones, the cells of each but the first lie CELLS_BETWEEN_ZONES farther east.
    With ``alpha`` of 360 or more the classes go by position alone, and no heading is needed.

    Raises:
        ProgeoError: a heading is missing that ``alpha`` needs.
    """
    if alpha >= 360:
        heading = np.zeros(len(table))
    else:
        missing = table["heading"].is_null()
        if missing.any():
            raise ProgeoError(
                f"{missing.sum()} of {len(table)} images have no heading (field 9 of the file name), first "
                f"{table['path'].filter(missing)[0]}, and classes of `alpha` {alpha} degrees need it. "
                "With `alpha` 360 the classes go by position alone."
            )
        heading = table["heading"].to_numpy() % 360
    # NumPy's floor division is exact where floor(x / M) may round up across the border of a cell.
    columns = ((table["utm_east"].to_numpy(), M), (table["utm_north"].to_numpy(), M), (heading, alpha))
    cells = np.stack([np.floor_divide(values, step).astype(np.int64) for values, step in columns], axis=1)
    cells[:, 0] += number_zones(table) * CELLS_BETWEEN_ZONES
    return cells


def make_groups(
    table: pl.DataFrame,
    *,
    M: int = 10,
    alpha: int = 30,
    N: int = 5,
    L: int = 2,
    min_images_per_class: int = 10,
    groups_num: int = 8,
    as_listed: bool = False,
) -> list[Group]:
    """Cut the images into CosPlace classes and return the first ``groups_num`` groups, in ascending order of key.

    Args:
        table: image table with ``utm_east``, ``utm_north``, ``utm_zone``, ``utm_letter`` and, below ``alpha`` 360,
            ``heading``.
        M: side of a class's cell in metres.
        alpha: angle of a class in degrees.
        N: cells, in each direction, from one class of a group to the next.
        L: steps of ``alpha`` from one class of a group to the next.
        min_images_per_class: classes with fewer images are left out.
        groups_num: how many groups to return.
        as_listed: take groups in the order in which their first images are listed, as the published code does.

    Raises:
        ProgeoError: a heading is missing, no class has enough images, or there are fewer groups than asked for.
    """
    cells = assign_cells(table, M, alpha)
    modulus = np.array([N, N, L])
    # One number per class sorts the images by class; the classes, which are fewer, are then sorted by group.
    lowest = cells.min(axis=0)
    class_ids = np.ravel_multi_index((cells - lowest).T, cells.max(axis=0) - lowest + 1)
    order, starts, sizes = _sort_classes(class_ids, min_images_per_class)
    if not len(starts):
        raise ProgeoError(_describe_settings(table, M, alpha, min_images_per_class))
    class_cells = cells[order[starts]]
    by_group = np.lexsort((class_cells % modulus).T[::-1])
    class_cells, starts, sizes = class_cells[by_group], starts[by_group], sizes[by_group]
    keys, first_classes = np.unique(class_cells % modulus, axis=0, return_index=True)
    if len(keys) < groups_num:
        raise ProgeoError(
            f"These images make only {len(keys)} groups with M={M}, alpha={alpha}, N={N}, L={L} and at least "
            f"{min_images_per_class} images per class, but {groups_num} are asked for: "
            f"use `groups_num` {len(keys)} or fewer, or lower `min_images_per_class`."
        )
    classes = class_cells * np.array([M, M, alpha])
    spans = list(zip(keys.tolist(), first_classes, [*first_classes[1:], len(starts)], strict=True))
    if as_listed:
        spans.sort(key=lambda span: order[starts[span[1] : span[2]]].min())
    return [
        _collect(tuple(key), classes, np.arange(first, last), order, starts, sizes)
        for key, first, last in spans[:groups_num]
    ]


def group_places(table: pl.DataFrame, *, min_images_per_class: int = 10, groups_num: int = 8) -> list[Group]:
    """Make a class of each value in the column ``place``, and deal the classes to groups, always in the same way.

    Images without a place are in no class. What is known of a place is its name: groups may hold neighbours.

    Raises:
        ProgeoError: there are fewer places with enough images than groups.
    """
    names = table["place"].cast(pl.String)
    ids = names.unique().drop_nulls().sort()
    numbers = np.array([_number_place(name) for name in ids], dtype=np.int64)
    class_ids = names.replace_strict(ids, numbers.argsort().argsort(), default=-1, return_dtype=pl.Int64).to_numpy()
    order, starts, sizes = _sort_classes(class_ids, min_images_per_class)
    if len(starts) < groups_num:
        raise ProgeoError(
            f"{len(starts)} of the {len(ids)} places have {min_images_per_class} images or more, too few for "
            f"{groups_num} groups: lower `groups_num` or `min_images_per_class`."
        )
    classes = np.sort(numbers)[class_ids[order[starts]], None]
    dealt = np.random.default_rng(0).permutation(len(starts))
    return [
        _collect((number,), classes, np.sort(dealt[number::groups_num]), order, starts, sizes)
        for number in range(groups_num)
    ]


def _number_place(name: str) -> int:
    """Return a place's name as a number: itself where it is one, else 63 bits of its hash."""
    is_number = name.isascii() and name.isdecimal() and len(name) < 19
    return int(name) if is_number else int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def _sort_classes(class_ids: Integers, min_images_per_class: int) -> tuple[Integers, Integers, Integers]:
    """Return the images in the order of their classes, and where those classes start that have enough, and their sizes.

    Images with a negative number are in no class.
    """
    order = np.argsort(class_ids, kind="stable")
    starts = np.flatnonzero(np.diff(class_ids[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    kept = sizes >= min_images_per_class
    return order, starts[kept], sizes[kept]


def _collect(
    key: tuple[int, ...], classes: Integers, chosen: Integers, order: Integers, starts: Integers, sizes: Integers
) -> Group:
    """Return the group of the chosen classes."""
    images = [order[start : start + size] for start, size in zip(starts[chosen], sizes[chosen], strict=True)]
    offsets = np.concatenate([[0], np.cumsum(sizes[chosen])])
    return Group(key=key, classes=classes[chosen], images=np.concatenate(images), offsets=offsets)


def check_groups(groups: list[Group], parallel: int = 1) -> None:
    """Raise ProgeoError where a group has nothing to tell apart, or where there are fewer groups than run in parallel.

    Args:
        groups: all that are trained on.
        parallel: how many of them each step trains on.
    """
    sizes = [len(group) for group in groups]
    alone = sizes.count(1)
    if alone:
        raise ProgeoError(
            f"{alone} of {len(groups)} groups {'has' if alone == 1 else 'have'} one class only, in which there is "
            f"nothing to tell apart; these settings leave groups of {', '.join(map(str, sizes))} classes. Lower `N` or "
            "`L` for fewer and larger groups (with a column place `groups_num`), or `min_images_per_class` for more "
            "classes."
        )
    if parallel > len(groups):
        raise ProgeoError(
            f"`parallel_groups` {parallel}: there are only {len(groups)} groups. Lower it, or raise `groups_num`."
        )


def count_images(table: pl.DataFrame, M: int, alpha: int) -> Integers:
    """Return how many images each class has, whatever the group: each place, or without such a column each cell."""
    if "place" in table.columns:
        return table["place"].drop_nulls().value_counts()["count"].to_numpy().astype(np.int64)
    return np.unique(assign_cells(table, M, alpha), axis=0, return_counts=True)[1].astype(np.int64)


def describe_groups(groups: list[Group]) -> str:
    """Return a fingerprint of the classes of all groups, in their order, and of how many images each has."""
    digest = hashlib.sha256()
    for group in groups:
        digest.update(group.classes.tobytes())
        digest.update(group.offsets.tobytes())
    return digest.hexdigest()


def _describe_settings(table: pl.DataFrame, M: int, alpha: int, min_images_per_class: int) -> str:
    """Say that no class is left, and how many classes other settings would leave."""
    lines = [
        f"No class has {min_images_per_class} images with M={M} and alpha={alpha} ({len(table)} images in all). "
        "Classes that other settings leave:"
    ]
    minima = [count for count in (10, 5, 4, 3, 2) if count <= min_images_per_class] or [min_images_per_class]
    for cell, angle in dict.fromkeys(
        [(M, alpha), (2 * M, alpha), (5 * M, alpha), (M, 360), (2 * M, 360), (5 * M, 360)]
    ):
        sizes = np.unique(assign_cells(table, cell, angle), axis=0, return_counts=True)[1]
        counts = ", ".join(f"{(sizes >= minimum).sum()} with {minimum}" for minimum in minima)
        lines.append(f"  `M` {cell} `alpha` {angle} `min_images_per_class`: {counts}")
    return "\n".join(lines)
