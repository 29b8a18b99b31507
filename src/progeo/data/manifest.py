"""Manifests: tables of photos as CSV, Parquet or GeoJSON, whose columns may be named in many ways.

A manifest needs a path and a position for each photo: latitude and longitude, or UTM with its zone. Paths are taken
relative to the manifest's folder. Whatever else it holds is kept under its own name.
"""

from __future__ import annotations

import logging
import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs

from progeo.console import format_count
from progeo.data.columns import FIELDS, find_columns, parse_columns, take_local_columns
from progeo.data.faults import Fault, Faults, set_aside
from progeo.data.geodesy import describe_impossible
from progeo.data.listing import list_folders
from progeo.data.table_files import read_table_file, write_table_file
from progeo.data.timestamps import IS_NORMAL, normalise_timestamps
from progeo.errors import ProgeoError
from progeo.pixels.decoding import IMAGE_EXTENSIONS

logger = logging.getLogger("progeo")

VALUES: dict[str, dict[str, str]] = {
    "split": {"training": "train", "validation": "val", "valid": "val", "dev": "val", "testing": "test"},
    "role": {"db": "database", "gallery": "database", "reference": "database", "references": "database"}
    | {"query": "queries", "probe": "queries"},
    "heading_reference": {"t": "true", "m": "magnetic"},
}
"""Other spellings of the values of some columns."""

REMOTE = "[a-z][a-z0-9]+://"
"""What addresses in object stores start with."""
POSITION = ("utm_east", "utm_north", "utm_zone", "utm_letter", "latitude", "longitude")
NEAR_DEGREES = 1.0
"""Positions this far from the median of both coordinates count as of the same region."""
HEMISPHERES = {"NORTH": "N", "SOUTH": "M", "NORTHERN": "N", "SOUTHERN": "M"}
"""Letters for those who write hemispheres: N and M are the latitude bands beside the equator."""

CONFLICTING = 1000.0
"""Metres between the places of one photo in several rows that cannot both be right."""
SIGNS = {"latitude": {"N": 1, "S": -1, "+": 1, "-": -1}, "longitude": {"E": 1, "W": -1, "+": 1, "-": -1}}
"""What references say, by their first sign: N, North and Nord, S, South, Sud and Sur."""


def read_manifest(
    path: Path,
    columns: str | Mapping[str, str] | None = None,
    faults: Faults | None = None,
    *,
    local_frame: bool = False,
) -> pl.DataFrame:
    """Read a manifest.

    Args:
        path: a CSV (separated by commas, semicolons or tabs), Parquet or GeoJSON file.
        columns: names of columns that progeo does not know by itself, as ``parse_columns`` reads them.
        faults: gets the rows without a file or without a possible position, instead of an error.
        local_frame: columns ``x`` and ``y`` are the position, as ``utm_east`` and ``utm_north`` without a zone.

    Returns:
        One row per photo: ``path`` (which starts with the manifest's folder), those columns of FIELDS that were found,
        and all others as they are.

    Raises:
        ProgeoError: columns are missing, or a row has no file or no possible position; the message names the row.
    """
    table = read_table_file(path)
    chosen = parse_columns(columns) if columns else {}
    if local_frame and not chosen.keys() & set(POSITION):
        table = take_local_columns(table)
    names = find_columns(table.columns, chosen, path)
    others = [name for name in table.columns if name not in (*names.values(), *names)]
    table = table.select(*(pl.col(name).alias(field) for field, name in names.items()), *others)
    table = table.with_columns(pl.lit(None, FIELDS[name]).alias(name) for name in POSITION if name not in names)
    table = _read_values(table, path)
    _check_unread_references(table.select(others), table, path)
    table, contradiction = _apply_references(table)
    problem = contradiction.fill_null(_find_problems(table, names, path))
    if faults is None:
        _check_positions(table, problem, path)
    found, files = _find_files(table["path"], path.parent)
    is_missing = found.is_null()
    table = table.with_columns(path=found.fill_null(_resolve_paths(table["path"], path.parent)))
    problem = problem.fill_null(_find_conflicts(table))
    if faults is None:
        _check_positions(table, problem, path)
    named = table["path"]
    if faults is not None:
        is_missing = is_missing.filter(problem.is_null())
        table = set_aside(table, problem, "position", faults)
    return _check_files(table, is_missing, named, files, path, faults)


def write_manifest(table: pl.DataFrame, path: Path) -> None:
    """Write the image table as CSV, Parquet or GeoJSON, with paths relative to the manifest's folder.

    Columns without any value are left out.

    Raises:
        ProgeoError: the extension is another one, or the file cannot be written.
    """
    folder = path.parent.absolute()
    relative = [os.path.relpath(Path(photo).absolute(), folder).replace(os.sep, "/") for photo in table["path"]]
    filled = [column.name for column in table if column.null_count() < len(table)]
    write_table_file(table.with_columns(path=pl.Series(relative, dtype=pl.String)).select(filled), path)


def _read_values(table: pl.DataFrame, source: Path) -> pl.DataFrame:
    """Give the known columns their types, and their values one form."""
    table = table.with_columns(pl.col("path").cast(pl.String))
    missing = table["path"].str.strip_chars().fill_null("") == ""
    if missing.any():
        raise ProgeoError(f"{source}, row {missing.arg_true()[0] + 1} names no file.")
    table = table.with_columns(
        cs.temporal().dt.to_string("iso:strict").str.replace(r"\.0+(Z|[+-][\d:]+)?$", "${1}"),
    )
    texts = [name for name in table.columns if FIELDS.get(name) == pl.String and name != "path"]
    table = table.with_columns(pl.col(texts).cast(pl.String).str.strip_chars())
    table = _read_zones(table, source)
    for name in table.columns:
        if FIELDS.get(name) == pl.Float64:
            table = table.with_columns(_read_numbers(table, name, source))
    for name, spellings in VALUES.items():
        if name in table.columns:
            table = table.with_columns(pl.col(name).str.to_lowercase().replace(spellings))
    if "role" not in table.columns and "split" in table.columns:
        # Where a table calls database and queries its splits, they are the roles of its photos.
        is_role = pl.col("split").replace(VALUES["role"]).is_in(["database", "queries"])
        if table.select(is_role.all()).item():
            table = table.rename({"split": "role"}).with_columns(pl.col("role").replace(VALUES["role"]))
    if "timestamp" in table.columns:
        table = table.with_columns(timestamp=normalise_timestamps(pl.col("timestamp")))
        unread = (table["timestamp"] != "") & ~table["timestamp"].str.contains(IS_NORMAL)
        if unread.any():
            logger.warning(
                f"{_name_row(table, unread, source)}: the time {table['timestamp'].filter(unread)[0]!r} is not "
                f"understood, and so it is with {format_count(int(unread.sum()), 'row')}: it stays a text. Write "
                "2023-04-06T10:19:05, with +02:00 where it is known."
            )
    if "heading" in table.columns:
        wrong = table["heading"].abs() > 360
        if wrong.any():
            raise ProgeoError(
                f"{_name_row(table, wrong, source)}: the heading {table['heading'].filter(wrong)[0]} is no angle in "
                "degrees clockwise from north."
            )
        table = table.with_columns(pl.col("heading") % 360)
    return table


def _read_numbers(table: pl.DataFrame, name: str, source: Path) -> pl.Series:
    """Return a column as numbers; decimal commas are understood where they cannot be anything else."""
    texts = table[name].cast(pl.String).str.strip_chars()
    texts = texts.set(texts == "", None)
    with_comma = texts.str.contains(r"^[+-]?\d+,\d+$").fill_null(False)
    if with_comma.any() and not texts.str.contains(".", literal=True).any():
        in_thousands = with_comma & texts.str.contains(r"^[+-]?\d{1,3},\d{3}$")
        if name.startswith("utm_") and in_thousands.any():
            raise ProgeoError(
                f"{_name_row(table, in_thousands, source)}: the comma in {name} {texts.filter(in_thousands)[0]} can "
                "be a decimal comma or one between thousands: please write decimal points and no other signs."
            )
        texts = texts.str.replace(",", ".", literal=True)
    numbers = texts.cast(pl.Float64, strict=False)
    wrong = numbers.is_null() & texts.is_not_null()
    if wrong.any():
        unit = "decimal degrees such as 59.3293" if name in ("latitude", "longitude") else "a plain number"
        raise ProgeoError(
            f"{_name_row(table, wrong, source)}: the {name} {texts.filter(wrong)[0]!r} is no number: write {unit}."
        )
    return numbers.set(~numbers.is_finite(), None).alias(name)


def _apply_references(table: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """Give latitude and longitude the signs that columns such as GPSLatitudeRef say, and drop these.

    Returns:
        The table, and what is wrong (string) where a sign stays unknown or is contradicted, else null.
    """
    problem = pl.Series("problem", [None], pl.String).new_from_index(0, len(table))
    for name, signs in SIGNS.items():
        reference = f"{name}_reference"
        if reference not in table.columns or table[reference].is_null().all():
            continue
        value, text = pl.col(name), pl.col(reference)
        sign = text.str.to_uppercase().str.head(1).replace_strict(signs, default=None, return_dtype=pl.Int8)
        said = "north or south" if name == "latitude" else "east or west"
        wrong = (
            pl.when((value > 0) & sign.is_null())
            .then(pl.format(f"{name} {{}} may be {said}, which its reference '{{}}' does not say", value,
                            text.fill_null("")))
            .when((value < 0) & (sign > 0))
            .then(pl.format(f"{name} {{}} and its reference '{{}}' contradict each other", value, text))
        )  # fmt: skip
        problem = problem.fill_null(table.select(wrong).to_series())
        table = table.with_columns(pl.when(sign == -1).then(-value.abs()).otherwise(value).alias(name))
    return table.drop("latitude_reference", "longitude_reference", strict=False), problem


def _check_unread_references(others: pl.DataFrame, table: pl.DataFrame, source: Path) -> None:
    """Raise an error where columns that mean nothing to progeo hold N and S, and E and W, and numbers have no sign."""
    if (table.select(pl.min_horizontal(pl.col("latitude", "longitude").min())).item() or 0) < 0:
        return
    found = {}
    for name, words in (("latitude", ("N", "S", "NORTH", "SOUTH")), ("longitude", ("E", "W", "EAST", "WEST"))):
        for column in others.select(cs.string()).iter_columns():
            if f"{name}_reference" not in table.columns and column.head(100).str.to_uppercase().is_in(words).all():
                found[f"{name}_reference"] = column.name
    negative = [
        name for name in found.values() if table[name].str.to_uppercase().is_in(["S", "W", "SOUTH", "WEST"]).any()
    ]
    if len(found) == 2 and negative:
        pairs = ",".join(f"{field}={name}" for field, name in found.items())
        raise ProgeoError(
            f"{source}: latitudes and longitudes have no signs, and {' and '.join(found.values())} look as if they "
            f"said north or south, east or west. If they do: `columns` {pairs}. If not, rename them or leave them out."
        )


def _read_zones(table: pl.DataFrame, source: Path) -> pl.DataFrame:
    """Read zones such as ``33``, ``33N``, ``33 T`` or ``EPSG:32633`` as number and letter."""
    text = pl.col("utm_zone").cast(pl.String).str.to_uppercase().str.strip_chars()
    epsg = text.str.extract_groups(r"^(?:EPSG:)?32([67])(\d\d)$").struct
    plain = text.str.extract_groups(r"^(\d{1,2})(?:\.0)?\s*([A-Z]+)?$").struct
    letters = (pl.col("utm_letter").str.to_uppercase(), epsg.field("1").replace({"6": "N", "7": "M"}), plain.field("2"))
    zones = table.select(
        number=pl.coalesce(epsg.field("2"), plain.field("1")).cast(pl.Int32),
        letter=pl.coalesce(letters).replace(HEMISPHERES),
    )
    is_known = zones["number"].is_between(1, 60) & zones["letter"].fill_null("N").str.contains("^[C-HJ-NP-X]$")
    wrong = table["utm_zone"].is_not_null() & ~is_known.fill_null(False)
    if wrong.any():
        raise ProgeoError(
            f"{_name_row(table, wrong, source)}: {table['utm_zone'].filter(wrong)[0]} is no UTM zone such as 33, "
            "33N or EPSG:32633 with a latitude band from C to X."
        )
    table = table.with_columns(utm_zone=zones["number"], utm_letter=zones["letter"])
    half_known = table["utm_zone"].is_not_null() & table["utm_letter"].is_null() & table["latitude"].is_null()
    if half_known.any():
        count = format_count(int(half_known.sum()), "row")
        logger.warning(
            f"{_name_row(table, half_known, source)}: zone {table['utm_zone'].filter(half_known)[0]} has no letter or "
            f"hemisphere, so that latitude and longitude stay unknown for {count}. Write it in the manifest, or "
            "have progeo data convert add it."
        )
    return table


def _find_problems(table: pl.DataFrame, names: dict[str, str], source: Path) -> pl.Series:
    """Return what is wrong with the position of each row (string), null where it is possible.

    Raises:
        ProgeoError: latitude and longitude are swapped in the whole table; ``names`` are the columns' in the file.
    """
    latitude, longitude = (table[name].abs() for name in ("latitude", "longitude"))
    if (latitude > 90).sum() > len(table) / 2 and (latitude <= 180).all() and (longitude <= 90).all():
        raise ProgeoError(
            f"{_name_row(table, latitude > 90, source)}: latitude {table['latitude'].filter(latitude > 90)[0]} is "
            "beyond 90, and no longitude is: latitude and longitude look swapped. If they are, say "
            f"`columns` latitude={names['longitude']},longitude={names['latitude']}"
        )
    swapped = pl.when(is_swapped()).then(
        pl.lit("latitude and longitude look swapped: the other way round, they lie among those of the other rows")
    )
    return table.select(pl.coalesce(swapped, describe_problem())).to_series()


def is_swapped() -> pl.Expr:
    """Return which positions lie far from the others, and near them with latitude and longitude exchanged."""
    latitude, longitude = pl.col("latitude"), pl.col("longitude")

    def is_near(north: pl.Expr, east: pl.Expr) -> pl.Expr:
        return ((north - latitude.median()).abs() <= NEAR_DEGREES) & ((east - longitude.median()).abs() <= NEAR_DEGREES)

    return ~is_near(latitude, longitude) & is_near(longitude, latitude)


def _find_conflicts(table: pl.DataFrame) -> pl.Series:
    """Return what is wrong (string) with rows that put one photo at places far from each other, else null."""
    if table["path"].n_unique() == len(table):
        return pl.Series("problem", [None], pl.String).new_from_index(0, len(table))
    degree = 111_000.0
    metres: dict[str, Any] = {"latitude": degree, "longitude": degree * pl.col("latitude").mean().radians().cos()}
    spans = [
        ((pl.col(name).max() - pl.col(name).min()) * metres.get(name, 1.0)).over("path")
        for name in ("latitude", "longitude", "utm_east", "utm_north")
    ]
    span = pl.max_horizontal(spans)
    text = pl.format("its rows say places {} km apart", (span / 1000).round(1))
    return table.select(problem=pl.when(span > CONFLICTING).then(text)).to_series()


def _check_positions(table: pl.DataFrame, problem: pl.Series, source: Path) -> None:
    """Raise an error that names the first row without a possible position."""
    wrong = problem.is_not_null()
    if wrong.any():
        raise ProgeoError(
            f"{wrong.sum():,} of {format_count(len(table), 'row')} without a possible position. "
            f"{_name_row(table, wrong, source)}: {problem.filter(wrong)[0]}."
        )


def describe_problem() -> pl.Expr:
    """Return what is wrong with the position of each row (string), null where it is possible."""
    east, north, zone = pl.col("utm_east"), pl.col("utm_north"), pl.col("utm_zone")
    has_utm = east.is_not_null() & north.is_not_null()
    has_degrees = pl.col("latitude").is_not_null() | pl.col("longitude").is_not_null()
    is_outside = ~(east.is_between(0, 1e6) & north.is_between(-1e7, 2e7))
    return (
        pl.when(has_utm & zone.is_not_null() & is_outside)
        .then(pl.format("UTM east {} and north {} are in no zone", east, north))
        .when(has_utm & zone.is_not_null() & (pl.col("utm_letter") == "S") & ~north.is_between(3.5e6, 4.5e6))
        .then(pl.format("letter S is the band from 32 to 40 degrees north, and north {} is not in it; for the southern "
                        "hemisphere write south", north))
        .when(has_degrees | ~has_utm)
        .then(describe_impossible(pl.col("latitude"), pl.col("longitude")))
    )  # fmt: skip


def _resolve_paths(paths: pl.Series, folder: Path) -> pl.Series:
    """Return paths relative to ``folder`` as paths that can be opened from here."""
    paths = paths.str.strip_prefix("./")
    is_absolute = paths.str.contains(rf"^(/|[A-Za-z]:[/\\]|{REMOTE})")
    prefix = "" if folder == Path() else f"{folder.as_posix().rstrip('/')}/"
    return paths.zip_with(is_absolute, prefix + paths)


def _find_files(paths: pl.Series, folder: Path) -> tuple[pl.Series, pl.Series]:
    """Return paths relative to ``folder`` as they are on disk, null where there is no such file; and what lies there.

    A name may hold blanks at its ends and backslashes. Where there is no such file, they are taken for what tables of
    other systems write; and a name that differs from a single file's in case or Unicode form alone is taken for it.
    """
    spellings = [paths, paths.str.strip_chars(), paths.str.strip_chars().str.replace_all("\\", "/", literal=True)]
    found = pl.Series("path", [None], pl.String).new_from_index(0, len(paths))
    files = pl.Series("path", [], pl.String)
    for spelling in map(_resolve_paths, spellings, [folder] * len(spellings)):
        if not found.null_count():
            break
        remote = spelling.str.contains(f"^{REMOTE}")  # of an object store: whether it is there shows when it is read
        found = found.fill_null(spelling.set(~remote, None))
        listed = list_folders(spelling.filter(found.is_null()).str.extract("^(.*)/").unique())
        files = pl.concat([files, listed]).unique(maintain_order=True)
        found = found.fill_null(spelling.set(~spelling.is_in(files.implode()), None))
    if found.null_count():
        folded = pl.DataFrame({"file": files, "key": [_fold(path) for path in files]})
        single = folded.filter(pl.col("key").is_unique())
        wanted = zip(spelling, found.is_not_null(), strict=True)
        keys = pl.Series([None if known else _fold(path) for path, known in wanted], dtype=pl.String)
        found = found.fill_null(keys.replace_strict(single["key"], single["file"], default=None))
    return found, files


def _fold(path: str) -> str:
    """Return what paths have in common that differ in case or Unicode form alone."""
    return unicodedata.normalize("NFC", path).casefold()


def _check_files(
    table: pl.DataFrame, missing: pl.Series, named: pl.Series, files: pl.Series, source: Path, faults: Faults | None
) -> pl.DataFrame:
    """Raise an error where rows name files that do not exist, and log how many images are not ``named`` in any row.

    With ``faults`` both go there, and the rows that have a file are returned.
    """
    if faults is not None:
        problem = pl.Series([f"row of {source} without a file"]).new_from_index(0, len(table))
        table = set_aside(table, problem.set(~missing, None), "file", faults)
    elif missing.any():
        raise ProgeoError(
            f"{missing.sum():,} of {format_count(len(table), 'file')} named in {source} cannot be found. "
            f"{_name_row(table, missing, source)}: paths are taken relative to the manifest's folder {source.parent}."
        )
    images = files.filter(files.str.to_lowercase().str.contains(rf"({'|'.join(IMAGE_EXTENSIONS)})$"))
    without_row = images.filter(~images.is_in(named.implode())).sort()
    if faults is not None:
        faults += [Fault(path, "row", f"no row in {source}") for path in without_row]
    elif len(without_row):
        logger.warning(
            f"Left out: {format_count(len(without_row), 'image')} without a row in {source}, beside those that it "
            f"names, first {without_row[0]}"
        )
    return table


def _name_row(table: pl.DataFrame, wrong: pl.Series, source: Path) -> str:
    """Return where the first wrong row stands."""
    row = wrong.fill_null(False).arg_true()[0]
    return f"{source}, row {row + 1} ({table['path'][row]})"
