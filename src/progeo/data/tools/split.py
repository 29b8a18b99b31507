"""One set of photos as train, val and test that lie apart from each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from progeo.console import format_count
from progeo.data.tools import roles as drawing
from progeo.data.tools.blocks import NO_PART, PARTS, TRAIN, Floats, Integers, draw_parts
from progeo.data.tools.roles import DATABASE, NO_ROLE, QUERIES, find_sessions, has_positive
from progeo.data.zones import read_points
from progeo.errors import ProgeoError

FEWEST_PLACES = 5
"""Of the database of val and test, below which figures measured with it say little."""
SMALLER = (50, 25, 10)
"""Metres to try where a cell or a buffer was too large."""
ROLES = {NO_ROLE: None, DATABASE: "database", QUERIES: "queries"}


def split_photos(
    table: pl.DataFrame,
    shares: Sequence[float] | None = None,
    *,
    buffer: float = 50,
    cell: float = 50,
    query_share: float = 0.2,
    positive_dist_threshold: float = 25,
    draw_roles: bool = False,
    seed: int = 0,
) -> tuple[pl.DataFrame, list[str]]:
    """Divide photos into parts that lie apart, and val and test into database and queries.

    Args:
        table: the image table. Where it says of every photo in ``role`` whether it is database or queries, that stays,
            unless ``draw_roles`` asks for a new draw. A ``split`` that it has is replaced.
        shares: of train, val and test, in numbers of photos, which need not add up to 1; without them 0.8, 0.1 and 0.1.
        buffer: metres between the parts; photos nearer than that belong to none.
        cell: side in metres of the cells that are never cut.
        query_share: of the photos of val and test, those that become queries.
        positive_dist_threshold: metres within which every query has a database photo.
        draw_roles: draw database and queries anew.
        seed: another seed, other places for val and test.

    Returns:
        The table with ``split`` and ``role``, both null where a photo belongs to no part, and remarks about the roles.

    Raises:
        ProgeoError: a part would be empty, or there are not three shares.
    """
    shares = shares or (0.8, 0.1, 0.1)
    if len(shares) != len(PARTS):
        raise ProgeoError(f"`shares` takes three numbers, for train, val and test, such as 0.8 0.1 0.1; got {shares}.")
    points = read_points(table)
    train, val, test = (share / sum(shares) for share in shares)

    def draw(buffer: float, cell: float) -> Integers:
        return draw_parts(points, (train, val, test), buffer=buffer, cell=cell, seed=seed)

    parts = draw(buffer, cell)
    _check_parts(parts, buffer, cell, draw)
    keeps = "role" in table.columns and not table["role"].null_count() and table["role"].n_unique() > 1
    keeps = keeps and not draw_roles
    roles, notes = (
        _keep_roles(table, points, parts, positive_dist_threshold)
        if keeps
        else _draw_roles(table, points, parts, query_share, positive_dist_threshold, seed)
    )
    split = pl.Series([None if part == NO_PART else PARTS[part] for part in parts], dtype=pl.String)
    roles = [role if part not in (NO_PART, TRAIN) else None for role, part in zip(roles, parts, strict=True)]
    divided = table.with_columns(split=split, role=pl.Series(roles, dtype=pl.String)).with_columns(
        # A photo of val or test without a role belongs to none of its two halves, and so to no part.
        split=pl.when((pl.col("split") == "train") | pl.col("role").is_not_null()).then("split")
    )
    _check_roles(divided, keeps, positive_dist_threshold)
    return divided, [*notes, *_warn_of_few_places(divided, positive_dist_threshold)]


def describe_split(table: pl.DataFrame, buffer: float) -> list[str]:
    """Say how many photos each part has got."""
    total = len(table)
    lines = []
    for part in PARTS:
        photos = table.filter(pl.col("split") == part)
        roles = photos["role"].drop_nulls().value_counts().sort("role").rows()
        detail = f" ({', '.join(f'{role} {count:,}' for role, count in roles)})" if roles else ""
        lines.append(f"{part}: {format_count(len(photos), 'photo')}, {100 * len(photos) / total:.0f} %{detail}")
    none = table["split"].null_count()
    why = f": too near to another part (`buffer` {buffer:g}), or without a role in their own" if none else ""
    return [*lines, f"in no part: {format_count(none, 'photo')}, {100 * none / total:.0f} %{why}"]


def _keep_roles(
    table: pl.DataFrame, points: Floats, parts: Integers, radius: float
) -> tuple[list[str | None], list[str]]:
    """Return the roles as they are, but for queries that the split leaves without a database photo near."""
    is_query = table["role"].str.starts_with("queries").to_numpy()
    is_alone = np.zeros(len(table), bool)
    for number in range(TRAIN + 1, len(PARTS)):
        rows = np.flatnonzero(parts == number)
        found = has_positive(points[rows], is_query[rows], radius)
        is_alone[rows] = is_query[rows] & ~found
    notes = ["Database and queries stay as they were; `draw_roles` draws them anew"]
    if is_alone.any():
        count = f"{is_alone.sum():,} {'query' if is_alone.sum() == 1 else 'queries'}"
        notes.append(f"{count} without a database photo near, and so in no part")
    return [None if alone else role for role, alone in zip(table["role"], is_alone, strict=True)], notes


def _draw_roles(
    table: pl.DataFrame, points: Floats, parts: Integers, share: float, radius: float, seed: int
) -> tuple[list[str | None], list[str]]:
    """Draw database and queries of val and test, and say how."""
    sessions = find_sessions(table)
    roles = np.full(len(table), NO_ROLE)
    notes = []
    for number, part in enumerate(PARTS):
        if number == TRAIN:
            continue
        rows = np.flatnonzero(parts == number)
        roles[rows], by_session = drawing.draw_roles(
            points[rows],
            None if sessions is None else np.unique(sessions[rows], return_inverse=True)[1],
            share,
            radius,
            seed,
        )
        alone = format_count(int((roles[rows] == NO_ROLE).sum()), "photo")
        how = f"whole days or sequences; {alone} of these without a database photo near, and so in no part"
        notes.append(f"Queries of {part}: {how if by_session else 'single photos, drawn'}")
    return [ROLES[role] for role in roles.tolist()], notes


def _warn_of_few_places(table: pl.DataFrame, radius: float) -> list[str]:
    """Say of which part so few places are in the database that even a model that knows nothing finds them."""
    points = read_points(table)
    notes = []
    for part in PARTS[TRAIN + 1 :]:
        is_database = (table["split"] == part) & (table["role"] == "database")
        places = count_places(points[is_database.fill_null(False).to_numpy()], radius)
        if places == 1:
            notes.append(
                f"Warning: the database of {part} is a single place, so every answer is right: R@1 is 100 % by any "
                "model, and says nothing. It needs more places: `shares` gives it more photos, `seed` other ones"
            )
        elif places < FEWEST_PLACES:
            notes.append(
                f"Warning: the database of {part} has only {places} places, so {100 / places:.0f} % of the queries are "
                f"right by chance. With fewer than {FEWEST_PLACES} places figures say little: `shares` gives it more "
                "photos, `seed` other ones"
            )
    return notes


def count_places(points: Floats, radius: float) -> int:
    """Return how many of points (n, d) in metres lie farther than a radius from each other; no more than are enough."""
    places = 0
    while len(points) and places < FEWEST_PLACES:
        points = points[np.linalg.norm(points - points[0], axis=1) > radius]
        places += 1
    return places


def _check_parts(parts: Integers, buffer: float, cell: float, draw: Callable[[float, float], Integers]) -> None:
    """Raise an error that says what other settings would leave where a part is empty."""
    empty = [part for number, part in enumerate(PARTS) if not (parts == number).any()]
    if not empty:
        return
    lines = [
        f"With `buffer` {buffer:g} and `cell` {cell:g}, no photo of {len(parts)} is left for "
        f"{' and '.join(empty)}. What other settings leave for train, val and test:"
    ]
    cells, buffers = ([given, *(metres for metres in SMALLER if metres < given)] for given in (cell, buffer))
    for cell in cells:
        for buffer in buffers:
            left = draw(buffer, cell)
            counts = np.bincount(left[left != NO_PART], minlength=len(PARTS))
            lines.append(f"  `cell` {cell:g} `buffer` {buffer:g}: {', '.join(map(str, counts))}")
    raise ProgeoError("\n".join(lines))


def _check_roles(table: pl.DataFrame, keeps: bool, radius: float) -> None:
    """Raise an error where val or test has no database or no queries."""
    for part in PARTS[TRAIN + 1 :]:
        roles = table.filter(pl.col("split") == part)["role"]
        queries = roles.str.starts_with("queries").sum()
        if queries and queries < len(roles):
            continue
        found = f"{len(roles) - queries} database photos and {queries} queries"
        advice = (
            "`draw_roles` draws database and queries anew."
            if keeps
            else f"Its photos stand more than {radius:g} m apart: give it more of them with "
            "`shares`, or raise `positive_dist_threshold` if positions are coarse."
        )
        raise ProgeoError(f"{part} would have {found}, and it needs both. {advice} Another `seed` draws other places.")
