"""What makes a database image a right answer: near enough on the ground or in frames, or of the same place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from progeo.data.zones import read_points
from progeo.errors import ProgeoError
from progeo.search.exact import Floats

Unit = Literal["metres", "frames", "places"]


@dataclass(frozen=True)
class PositiveRule:
    """A database image is a positive of a query where the two are at most ``limit`` units apart.

    All three kinds are one rule in different coordinates: UTM positions in metres, frame numbers along a recording, or
    numbers of places, of which only equal ones (``limit`` 0) match.
    """

    unit: Unit
    limit: float

    def __str__(self) -> str:
        """Return the rule as it follows a noun: ``within 25 m``, ``within 10 frames``, ``of the same place``."""
        if self.unit == "places":
            return "of the same place"
        if self.unit == "metres":
            return f"within {self.limit:g} m"
        return f"within {self.limit:g} frame{'' if self.limit == 1 else 's'}"

    @property
    def is_metric(self) -> bool:
        """Whether it measures on the ground, so that errors in metres and maps mean something."""
        return self.unit == "metres"


PUBLISHED_RULE = PositiveRule("metres", 25.0)
"""What the field counts as right, where no protocol says otherwise."""


def read_coordinates(rule: PositiveRule, database: pl.DataFrame, queries: pl.DataFrame) -> tuple[Floats, Floats]:
    """Return the coordinates of two image tables in the units of a rule: float64 (N, d) and (Q, d).

    - metres: ``utm_east`` and ``utm_north``, d = 2; where the photos are in several UTM zones, d = 3 with a coordinate
      that puts a hundred thousand kilometres between them (see ``read_points``).
    - frames: column ``frame`` where both tables have it. Otherwise the number at the end of ``pano_id``, or else of the
      file name, turned into its place in the numeric order of the database, so that frames which were left out of a
      recording leave no gap. d = 1.
    - places: column ``place`` where both tables have it, otherwise ``pano_id``; d = 1.

    Raises:
        ProgeoError: an image has no frame number or no place, or two database images have the same frame number.
    """
    if rule.unit == "metres":
        columns = ("utm_east", "utm_north", "utm_zone", "utm_letter")
        # Together, so that a zone has the same number in both.
        points = read_points(pl.concat([database.select(columns), queries.select(columns)]))
        return points[: len(database)], points[len(database) :]
    read = _read_frames if rule.unit == "frames" else _read_places
    database_numbers, query_numbers = read(database, queries)
    return database_numbers.astype(np.float64)[:, None], query_numbers.astype(np.float64)[:, None]


def count_without_positives(rule: PositiveRule, database: pl.DataFrame, queries: pl.DataFrame) -> int:
    """Return how many queries have no positive in the database; see ``read_coordinates``."""
    known, asked = read_coordinates(rule, database, queries)
    distances, _ = cKDTree(known).query(asked)
    return int((distances > rule.limit).sum())


def _read_frames(database: pl.DataFrame, queries: pl.DataFrame) -> tuple[NDArray[Any], NDArray[Any]]:
    if "frame" in database.columns and "frame" in queries.columns:
        for part, table in (("database", database), ("queries", queries)):
            _check_all_known(table["frame"], table, part, "frame number in the column frame")
        return database["frame"].to_numpy(), queries["frame"].to_numpy()
    database_numbers = _read_trailing_numbers(database, "database")
    order = np.sort(database_numbers)
    repeated = order[1:][order[1:] == order[:-1]]
    if len(repeated):
        raise ProgeoError(
            f"Frames are counted in the order of the database, but {len(repeated) + 1} of its images share a number, "
            f"first {repeated[0]}. Number them one by one, or give a column frame."
        )
    query_numbers = _read_trailing_numbers(queries, "queries")
    return np.searchsorted(order, database_numbers), np.searchsorted(order, query_numbers)


def _read_trailing_numbers(table: pl.DataFrame, part: str) -> NDArray[np.int64]:
    """Return the number at the end of each image's ``pano_id`` or, where that is empty, of its file name."""
    stems = pl.Series("stem", [PurePath(path).stem for path in table["path"]], dtype=pl.String)
    names = pl.select(pl.coalesce(table["pano_id"], stems)) if "pano_id" in table.columns else stems.to_frame()
    numbers = names.to_series().str.extract(r"(\d{1,18})$").cast(pl.Int64)
    _check_all_known(numbers, table, part, "frame number at the end of its pano_id or file name")
    return numbers.to_numpy()


def _read_places(database: pl.DataFrame, queries: pl.DataFrame) -> tuple[NDArray[Any], NDArray[Any]]:
    column = "place" if "place" in database.columns and "place" in queries.columns else "pano_id"
    for part, table in (("database", database), ("queries", queries)):
        places = table[column] if column in table.columns else pl.repeat(None, len(table), eager=True)
        _check_all_known(places, table, part, f"place in the column {column}")
    both = pl.concat([database[column].cast(pl.String), queries[column].cast(pl.String)])
    numbers = both.rank("dense").to_numpy()
    return numbers[: len(database)], numbers[len(database) :]


def _check_all_known(values: pl.Series, table: pl.DataFrame, part: str, what: str) -> None:
    missing = values.is_null()
    if missing.any():
        raise ProgeoError(
            f"{missing.sum()} of {len(table)} images of the {part} have no {what}, first "
            f"{table['path'].filter(missing)[0]}."
        )
