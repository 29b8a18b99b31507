"""Locating photos of a database with itself, their own place left out, to see what wrong estimates look like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from progeo.data.frames import EARTH, Frame, find_frame, read_points
from progeo.data.sphere import measure_distances
from progeo.locating.default import Examples
from progeo.locating.evidence import RIGHT_WITHIN, weigh_evidence
from progeo.places.plan import scan

Floats = NDArray[np.float64]

MOST_SAMPLED = 300
"""Photos that are located, so that a million photos take minutes."""
LEFT_OUT_WITHIN = 2 * RIGHT_WITHIN
"""Metres around a photo that belong to its place: those who stand there see much of the same."""
MOST_COMPARED = 8192
"""Photos at a time, which bounds the memory."""


def locate_own_photos(photos: Any, address: str, matches: int) -> Examples:
    """Locate a sample of the photos of a Lance table with the others, and with those of other places only.

    Args:
        photos: the Lance table.
        address: of the database, for messages.
        matches: that vote.
    """
    sample = draw_sample(read_positions(photos, address))
    if sample.is_empty():
        return Examples(0, [], [], np.empty(0))
    condition = "id IN (" + ", ".join(f"'{name}'" for name in sample["id"]) + ")"
    found = pl.concat(scan(photos, ["id", "descriptor"], address, condition))
    sample = sample.join(found, on="id", how="inner", maintain_order="left")
    batches = scan(photos, ["id", *find_frame(photos.schema.names), "descriptor"], address)
    return compare(sample, (part for batch in batches for part in batch.iter_slices(MOST_COMPARED)), matches)


def read_positions(photos: Any, address: str) -> pl.DataFrame:
    """Return ``id`` and position of all photos."""
    schema = {"id": pl.String, **dict.fromkeys(find_frame(photos.schema.names), pl.Float64)}
    columns = list(schema)
    return pl.concat(
        [pl.DataFrame(schema=schema), *(batch.select(columns) for batch in scan(photos, columns, address))]
    )


def draw_sample(positions: pl.DataFrame) -> pl.DataFrame:
    """Return at most MOST_SAMPLED photos: one of each cube of LEFT_OUT_WITHIN metres first, then further ones.

    The draw depends on nothing but the photos.
    """
    points = read_points(positions)
    cubes = pl.DataFrame(np.floor(points / LEFT_OUT_WITHIN).astype(np.int64), schema=["x", "y", "z"])
    table = positions.with_columns(cube=cubes.to_struct().rank("dense")).sort("id")
    table = table.sample(fraction=1.0, shuffle=True, seed=0)
    turn = pl.int_range(pl.len()).over("cube")
    return table.with_columns(turn=turn).sort("turn", maintain_order=True).head(MOST_SAMPLED).drop("turn", "cube")


def compare(sample: pl.DataFrame, batches: Iterator[pl.DataFrame], matches: int) -> Examples:
    """Locate the photos of a sample with those of all batches."""
    at, frame = read_points(sample), find_frame(sample.columns)
    descriptors = _stack(sample)
    elsewhere, others = Nearest(len(sample), matches, frame), Nearest(len(sample), matches, frame)
    has_neighbour = np.zeros(len(sample), dtype=bool)
    for batch in batches:
        table = batch.select(frame)
        away = measure_distances(at[:, None], read_points(table))
        is_itself = sample["id"].to_numpy()[:, None] == batch["id"].to_numpy()
        compared = _stack(batch)
        squares = (descriptors**2).sum(axis=1)[:, None] + (compared**2).sum(axis=1) - 2 * descriptors @ compared.T
        distances = np.sqrt(np.maximum(squares, 0.0)).astype(np.float64)
        elsewhere.add(np.where(away <= LEFT_OUT_WITHIN, np.inf, distances), table)
        others.add(np.where(is_itself, np.inf, distances), table)
        has_neighbour |= ((away <= RIGHT_WITHIN) & ~is_itself).any(axis=1)
    outside = {row: weigh_evidence(found) for row, found in elsewhere.read()}
    inside = {row: weigh_evidence(found) for row, found in others.read() if has_neighbour[row]}
    errors = np.array([measure_distances(item.point, at[row]) for row, item in inside.items()])
    return Examples(count_places(at[list(outside)]), list(outside.values()), list(inside.values()), errors)


def count_places(points: Floats) -> int:
    """Return how many of the points (N, 3) lie farther than LEFT_OUT_WITHIN metres from those counted before."""
    counted: list[Floats] = []
    for point in points:
        if not counted or measure_distances(np.stack(counted), point).min() > LEFT_OUT_WITHIN:
            counted.append(point)
    return len(counted)


@dataclass
class Nearest:
    """The nearest photos of several queries among all that have come by, as tables like those of a search."""

    queries: int
    count: int
    frame: Frame = EARTH
    distances: Floats = field(init=False)
    positions: Floats = field(init=False)

    def __post_init__(self) -> None:
        """Begin without photos."""
        self.distances = np.full((self.queries, self.count), np.inf)
        self.positions = np.zeros((self.queries, self.count, 2))

    def add(self, distances: Floats, table: pl.DataFrame) -> None:
        """Take in photos (N) at these distances (Q, N), infinite where a photo does not count."""
        count = min(self.count, len(table))
        rows = np.argpartition(distances, count - 1, axis=1)[:, :count]
        positions = np.concatenate([self.positions, table.to_numpy()[rows]], axis=1)
        joined = np.concatenate([self.distances, np.take_along_axis(distances, rows, axis=1)], axis=1)
        order = np.argsort(joined, axis=1, kind="stable")[:, : self.count]
        self.distances = np.take_along_axis(joined, order, axis=1)
        self.positions = np.take_along_axis(positions, order[:, :, None], axis=1)

    def read(self) -> Iterator[tuple[int, pl.DataFrame]]:
        """Yield each query that has found anything, by its number, with what it has found."""
        for row in range(self.queries):
            found = np.isfinite(self.distances[row])
            if found.any():
                table = pl.DataFrame(self.positions[row, found], schema=list(self.frame))
                yield row, table.with_columns(descriptor_distance=pl.Series(self.distances[row, found]))


def _stack(table: pl.DataFrame) -> NDArray[np.float32]:
    values: NDArray[np.float32] = table["descriptor"].explode().to_numpy().astype(np.float32)
    return values.reshape(len(table), -1)
