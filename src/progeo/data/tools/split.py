"""``progeo data split``: one set of photos as train, val and test, as a manifest or as a folder of links."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from progeo.cli.data_split import SplitOptions
from progeo.console import console, format_count
from progeo.data.table import read_image_table
from progeo.data.tools.blocks import NO_PART, PARTS, TRAIN, Floats, Integers, draw_parts
from progeo.data.tools.convert import is_manifest, write_photos
from progeo.data.tools.roles import DATABASE, NO_ROLE, QUERIES, draw_roles, find_sessions, has_positive
from progeo.data.zones import read_points
from progeo.errors import ProgeoError

SMALLER = (50, 25, 10)
"""Metres to try where a cell or a buffer was too large."""
ROLES = {NO_ROLE: None, DATABASE: "database", QUERIES: "queries"}


def run_split(options: SplitOptions) -> None:
    """Run ``progeo data split``."""
    table = read_image_table(
        options.source, options.cache_folder, columns=options.columns, heading_from=options.heading_from
    )
    divided, notes = split_photos(table, options)
    out = Path(options.out)
    write_photos(divided if is_manifest(out) else divided.filter(pl.col("split").is_not_null()), out)
    for line in [*describe_split(divided, options), *notes, f"The parts are in {options.out}"]:
        console.print(line, markup=False, soft_wrap=True)


def split_photos(table: pl.DataFrame, options: SplitOptions) -> tuple[pl.DataFrame, list[str]]:
    """Divide photos into parts that lie apart, and val and test into database and queries.

    Args:
        table: the image table. Where it says of every photo in ``role`` whether it is database or queries, that stays,
            unless ``draw_roles`` asks for a new draw. A ``split`` that it has is replaced.
        options: shares, buffer, cell and seed.

    Returns:
        The table with ``split`` and ``role``, both null where a photo belongs to no part, and remarks about the roles.

    Raises:
        ProgeoError: a part would be empty.
    """
    points = read_points(table)
    shares = _read_shares(options.shares)
    parts = draw_parts(points, shares, buffer=options.buffer, cell=options.cell, seed=options.seed)
    _check_parts(parts, points, shares, options)
    keeps = _has_roles(table) and not options.draw_roles
    roles, notes = (_keep_roles if keeps else _draw_all_roles)(table, points, parts, options)
    split = pl.Series([None if part == NO_PART else PARTS[part] for part in parts], dtype=pl.String)
    roles = [role if part not in (NO_PART, TRAIN) else None for role, part in zip(roles, parts, strict=True)]
    divided = table.with_columns(split=split, role=pl.Series(roles, dtype=pl.String)).with_columns(
        # A photo of val or test without a role belongs to none of its two halves, and so to no part.
        split=pl.when((pl.col("split") == "train") | pl.col("role").is_not_null()).then("split")
    )
    _check_roles(divided, keeps, options)
    return divided, notes


def describe_split(table: pl.DataFrame, options: SplitOptions) -> list[str]:
    """Say how many photos each part has got."""
    total = len(table)
    lines = []
    for part in PARTS:
        photos = table.filter(pl.col("split") == part)
        roles = photos["role"].drop_nulls().value_counts().sort("role").rows()
        detail = f" ({', '.join(f'{role} {count:,}' for role, count in roles)})" if roles else ""
        lines.append(f"{part}: {format_count(len(photos), 'photo')}, {100 * len(photos) / total:.0f} %{detail}")
    none = table["split"].null_count()
    why = f": too near to another part (`buffer` {options.buffer:g}), or without a role in their own" if none else ""
    return [*lines, f"in no part: {format_count(none, 'photo')}, {100 * none / total:.0f} %{why}"]


def _read_shares(shares: list[float] | None) -> tuple[float, float, float]:
    """Return the three shares so that they add up to 1."""
    shares = shares or [0.8, 0.1, 0.1]
    if len(shares) != len(PARTS):
        raise ProgeoError(f"`shares` takes three numbers, for train, val and test, such as 0.8 0.1 0.1; got {shares}.")
    train, val, test = (share / sum(shares) for share in shares)
    return train, val, test


def _has_roles(table: pl.DataFrame) -> bool:
    return "role" in table.columns and table["role"].null_count() == 0 and table["role"].n_unique() > 1


def _keep_roles(
    table: pl.DataFrame, points: Floats, parts: Integers, options: SplitOptions
) -> tuple[list[str | None], list[str]]:
    """Return the roles as they are, but for queries that the split leaves without a database photo near."""
    is_query = table["role"].str.starts_with("queries").to_numpy()
    is_alone = np.zeros(len(table), bool)
    for number in range(TRAIN + 1, len(PARTS)):
        rows = np.flatnonzero(parts == number)
        found = has_positive(points[rows], is_query[rows], options.positive_dist_threshold)
        is_alone[rows] = is_query[rows] & ~found
    notes = ["Database and queries stay as they were; `draw_roles` draws them anew"]
    if is_alone.any():
        count = f"{is_alone.sum():,} {'query' if is_alone.sum() == 1 else 'queries'}"
        notes.append(f"{count} without a database photo near, and so in no part")
    return [None if alone else role for role, alone in zip(table["role"], is_alone, strict=True)], notes


def _draw_all_roles(
    table: pl.DataFrame, points: Floats, parts: Integers, options: SplitOptions
) -> tuple[list[str | None], list[str]]:
    """Draw database and queries of val and test, and say how."""
    sessions = find_sessions(table)
    roles = np.full(len(table), NO_ROLE)
    notes = []
    for number, part in enumerate(PARTS):
        if number == TRAIN:
            continue
        rows = np.flatnonzero(parts == number)
        roles[rows], by_session = draw_roles(
            points[rows],
            None if sessions is None else np.unique(sessions[rows], return_inverse=True)[1],
            options.query_share,
            options.positive_dist_threshold,
            options.seed,
        )
        alone = format_count(int((roles[rows] == NO_ROLE).sum()), "photo")
        how = f"whole days or sequences; {alone} of these without a database photo near, and so in no part"
        notes.append(f"Queries of {part}: {how if by_session else 'single photos, drawn'}")
    return [ROLES[role] for role in roles.tolist()], notes


def _check_parts(parts: Integers, points: Floats, shares: tuple[float, float, float], options: SplitOptions) -> None:
    """Raise an error that says what other settings would leave where a part is empty."""
    empty = [part for number, part in enumerate(PARTS) if not (parts == number).any()]
    if not empty:
        return
    lines = [
        f"With `buffer` {options.buffer:g} and `cell` {options.cell:g}, no photo of {len(points)} is left for "
        f"{' and '.join(empty)}. What other settings leave for train, val and test:"
    ]
    cells, buffers = (
        [given, *(metres for metres in SMALLER if metres < given)] for given in (options.cell, options.buffer)
    )
    for cell in cells:
        for buffer in buffers:
            left = draw_parts(points, shares, buffer=buffer, cell=cell, seed=options.seed)
            counts = np.bincount(left[left != NO_PART], minlength=len(PARTS))
            lines.append(f"  `cell` {cell:g} `buffer` {buffer:g}: {', '.join(map(str, counts))}")
    raise ProgeoError("\n".join(lines))


def _check_roles(table: pl.DataFrame, keeps: bool, options: SplitOptions) -> None:
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
            else f"Its photos stand more than {options.positive_dist_threshold:g} m apart: give it more of them with "
            "`shares`, or raise `positive_dist_threshold` if positions are coarse."
        )
        raise ProgeoError(f"{part} would have {found}, and it needs both. {advice} Another `seed` draws other places.")
