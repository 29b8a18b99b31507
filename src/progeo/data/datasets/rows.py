"""Rows of published tables: which columns they must have, which image files belong to them, where these stand."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from progeo.console import format_count
from progeo.data.columns import FIELDS
from progeo.data.faults import Fault, Faults, set_aside
from progeo.data.manifest import POSITION, describe_problem
from progeo.data.table_files import read_table_file
from progeo.errors import ProgeoError

logger = logging.getLogger("progeo")

Columns = Mapping[str, type[pl.DataType]]
TRUTHS = {"true": True, "false": False, "1": True, "0": False}


def read_columns(path: Path, columns: Columns) -> pl.DataFrame:
    """Read a CSV file of which some columns are needed, and give these their types.

    Raises:
        ProgeoError: a column is missing, or a value is not of its type; the message names the file and the row.
    """
    table = read_table_file(path)
    missing = [name for name in columns if name not in table.columns]
    if missing:
        found = ", ".join(name for name in table.columns if name)
        raise ProgeoError(
            f"{path} has no column {' and no column '.join(missing)}, which its publisher's files have. Its columns "
            f"are {found}. Please fetch the file again."
        )
    for name, data_type in columns.items():
        values = table[name].str.strip_chars()
        if data_type == pl.Boolean:
            typed = values.str.to_lowercase().replace_strict(TRUTHS, default=None, return_dtype=pl.Boolean)
        else:
            typed = values.cast(data_type, strict=False)
        wrong = (typed.is_null() & values.is_not_null() & (values != "")).arg_true()
        if len(wrong):
            raise ProgeoError(f"{path}, row {wrong[0] + 1}: {name} cannot be {values[wrong[0]]!r}.")
        table = table.with_columns(typed.alias(name))
    return table


def match_files(
    rows: pl.DataFrame, files: pl.DataFrame, source: Path, name: str, faults: Faults | None
) -> pl.DataFrame:
    """Return the rows with the ``path`` of their images, in the order of the rows.

    Rows of which not one has its image are left out, and the log says so: of sets that come in parts, often only some
    are fetched. Images without a row are left out as well.

    Args:
        rows: what one table says; a column ``key`` tells its images apart.
        files: the images that may belong to them, ``key`` and ``path``.
        source: the table's file, for messages.
        name: what the rows are, for messages.
        faults: gets what would be an error or is left out, but for a table of which no image is there.

    Raises:
        ProgeoError: some rows have an image and others none, or an image has no possible position.
    """
    matched = rows.with_row_index("row").join(files, on="key", how="left", maintain_order="left")
    missing = matched.filter(pl.col("path").is_null())
    if len(missing) == len(matched):
        logger.warning(f"{name} is left out: not one of the {len(rows)} images in {source} is there")
    elif len(missing) and faults is None:
        raise ProgeoError(
            f"{len(missing):,} of {format_count(len(rows), 'image')} in {source} not found, first {missing['key'][0]} "
            f"(row {missing['row'][0] + 1}): part of {name} is missing. Please unpack its images again."
        )
    else:
        without_row = files.join(rows, on="key", how="anti")["path"].sort()
        if faults is not None:
            faults += [
                Fault(str(key), "file", f"row {row + 1} of {source}") for row, key in missing["row", "key"].rows()
            ]
            faults += [Fault(path, "row", f"no row in {source}") for path in without_row]
        elif len(without_row):
            logger.warning(
                f"Left out: {format_count(len(without_row), 'image')} of {name} without a row in {source}, first "
                f"{without_row[0]}"
            )
    return drop_unlocated(matched.filter(pl.col("path").is_not_null()).drop("row", "key"), source, faults)


def drop_unlocated(table: pl.DataFrame, source: Path, faults: Faults | None) -> pl.DataFrame:
    """Return the images with a possible position.

    Args:
        table: ``path``, and UTM coordinates, latitude and longitude, or both, as ``source`` gives them.
        source: the file that says where the images stand, for messages.
        faults: gets the others, instead of an error.

    Raises:
        ProgeoError: an image has no possible position.
    """
    given = [name for name in ("utm_east", "utm_north", "latitude", "longitude") if name in table.columns]
    is_missing = pl.any_horizontal(~pl.col(name).is_finite().fill_null(False) for name in given)
    others = [pl.lit(None, FIELDS[name]).alias(name) for name in POSITION if name not in table.columns]
    problem = (
        table.with_columns(others)
        .select(pl.when(is_missing).then(pl.lit("it has no position")).otherwise(describe_problem()))
        .to_series()
    )
    if faults is not None:
        return set_aside(table, problem, "position", faults)
    wrong = problem.is_not_null()
    if wrong.any():
        raise ProgeoError(
            f"{wrong.sum():,} of {format_count(len(table), 'image')} without a possible position in {source}, first "
            f"{table['path'].filter(wrong)[0]}: {problem.filter(wrong)[0]}. progeo data check lists all of them."
        )
    return table
