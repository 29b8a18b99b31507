"""CSV, Parquet and GeoJSON files as plain tables, before anything is known of their columns."""

from __future__ import annotations

import codecs
import csv
import json
import logging
import math
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from progeo.data.columns import find_field
from progeo.errors import ProgeoError
from progeo.files import atomic_write, read_bytes, read_text
from progeo.plain import show

logger = logging.getLogger("progeo")

SEPARATORS = ",;\t|"
DEGREES = ("latitude", "longitude")
MAX_COLUMNS = 1000
COMMENT = re.compile(r"[^\S\n]*(#[^\n]*)?\n")
"""A line that is blank or begins with #."""


def read_table_file(path: Path) -> pl.DataFrame:
    """Read a table; CSV as texts, GeoJSON points as the columns ``latitude`` and ``longitude``.

    Raises:
        ProgeoError: the file is missing, damaged, of another kind, or has no rows.
    """
    if not path.is_file():
        raise ProgeoError(f"There is no file {path}. Check the path (the current folder is {Path.cwd()}).")
    read = READERS.get(path.suffix.lower())
    if read is None:
        raise ProgeoError(f"{path} is no table that can be read: it must be one of {', '.join(READERS)}.")
    try:
        table = read(path)
    except UnicodeDecodeError as error:
        raise ProgeoError(f"{path} is not written in UTF-8 ({error}): please save it in UTF-8.") from error
    except RecursionError as error:
        raise ProgeoError(f"{path} cannot be read, it is nested too deep.") from error
    except KeyError as error:
        raise ProgeoError(f"{path} cannot be read, it may be damaged: {error} is missing.") from error
    except (OSError, ValueError, TypeError, AttributeError, OverflowError, struct.error) as error:
        raise ProgeoError(f"{path} cannot be read, it may be damaged: {error}") from error
    except pl.exceptions.PolarsError as error:
        raise ProgeoError(f"{path} cannot be read, it may be damaged: {error}") from error
    if table.is_empty():
        raise ProgeoError(f"{path} has no rows.")
    return table


def write_table_file(table: pl.DataFrame, path: Path) -> None:
    """Write a table as what its extension says; numbers keep all their digits.

    Raises:
        ProgeoError: the extension is none of ``.csv``, ``.parquet`` and ``.geojson``, or the file cannot be written.
    """
    write = WRITERS.get(path.suffix.lower())
    if write is None:
        raise ProgeoError(f"{path}: a manifest must be one of {', '.join(WRITERS)}.")
    with atomic_write(path) as temporary:
        write(table, temporary)


def _read_csv(path: Path) -> pl.DataFrame:
    """Read a CSV file as texts; the separator is what ``sep=`` says, or the sign that its first line has most of."""
    content = read_bytes(path)
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # as spreadsheets save "Unicode text"
    text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    if "\n" not in text:
        text = text.replace("\r", "\n")  # the line ends of old Macs
    declared = re.match(r'"?sep=(.)"?\r?\n', text)
    text = text[declared.end() :] if declared else text
    start = 0
    while (comment := COMMENT.match(text, start)) and comment.end() < len(text):
        following = text[comment.end() : text.find("\n", comment.end()) % (len(text) + 1)]
        if any(sign in comment[0] and comment[0].count(sign) == following.count(sign) for sign in SEPARATORS):
            break  # the names of the columns
        start = comment.end()
    text = text[start:].lstrip("# ") if comment else text[start:]
    header, _, rows = text.partition("\n")
    separator = declared[1] if declared else max(SEPARATORS, key=header.count)
    check_width(header.count(separator) + 1)
    try:
        table = pl.read_csv(text.encode(), separator=separator, infer_schema=False)
    except pl.exceptions.ComputeError:
        table = _read_ragged(path, text, rows, separator)
    is_blank = pl.all_horizontal(pl.all().is_null() | (pl.all().str.strip_chars() == ""))
    return table.filter(~is_blank)


def _read_ragged(path: Path, text: str, rows: str, separator: str) -> pl.DataFrame:
    """Read a CSV file whose rows have more values than there are columns, where the further ones are empty.

    Raises:
        ProgeoError: they are not; it says why that may be.
    """
    width = len(next(csv.reader(text.splitlines(), delimiter=separator)))
    for number, values in enumerate(csv.reader(rows.splitlines(), delimiter=separator), start=1):
        if any(value.strip() for value in values[width:]):
            line = separator.join(values)
            torn = separator == "," and re.search(r"\d,\d", line) and not re.search(r"\d\.\d", line)
            advice = (
                "Where numbers have decimal commas, separate the columns by semicolons."
                if torn
                else "Name the further columns in the first line, or put quotes around values that hold the separator."
            )
            raise ProgeoError(
                f"{path}: row {number} has more values than there are columns ({width}): {line[:100]}\n{advice}"
            )
    return pl.read_csv(text.encode(), separator=separator, infer_schema=False, truncate_ragged_lines=True)


def _read_geojson(path: Path) -> pl.DataFrame:
    """Read the points of a GeoJSON file (RFC 7946: longitude before latitude, on WGS 84)."""
    content = json.loads(read_text(path))
    features = content.get("features") if isinstance(content, dict) else None
    if not isinstance(features, list):
        raise ValueError("there is no list of features")
    if not any(name in json.dumps(content.get("crs") or "CRS84") for name in ("CRS84", "4326")):
        raise ValueError("its coordinates are not latitude and longitude on WGS 84, as GeoJSON has them")
    rows: list[dict[str, Any]] = []
    for number, feature in enumerate(features, start=1):
        if feature is None:
            logger.warning(f"Left out: feature {number} of {path}, which is null")
            continue
        if not isinstance(feature, dict):
            raise ValueError(f"feature {number} is no feature but {show(feature)}")
        properties, geometry = feature.get("properties") or {}, feature.get("geometry") or {}
        if not isinstance(properties, dict) or not isinstance(geometry, dict):
            wrong = geometry if isinstance(properties, dict) else properties
            raise ValueError(f"feature {number} has {show(wrong)} where an object belongs")
        longitude, latitude = _read_coordinates(geometry, number)
        rows.append({**properties, "latitude": latitude, "longitude": longitude})
    names = dict.fromkeys(name for row in rows for name in row)
    check_width(len(names))
    return pl.DataFrame([_make_column(name, [row.get(name) for row in rows]) for name in names])


def _read_coordinates(geometry: dict[str, Any], number: int) -> tuple[float | None, float | None]:
    """Return longitude and latitude of the geometry of a feature; ValueError where it is no point."""
    coordinates = geometry.get("coordinates") or [None, None]
    if geometry.get("type") == "MultiPoint" and isinstance(coordinates, list) and len(coordinates) == 1:
        coordinates = coordinates[0]
    elif geometry and geometry.get("type") != "Point":
        raise ValueError(f"feature {number} is a {str(geometry.get('type'))[:40]}, not a Point")
    try:
        pair = coordinates[:2] if isinstance(coordinates, list) else ()
        longitude, latitude = (None if value is None or isinstance(value, bool) else float(value) for value in pair)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"feature {number} has {show(coordinates)} in place of longitude and latitude") from error
    return longitude, latitude


def check_width(columns: int) -> None:
    """Raise ValueError if a table has so many columns that it is none of photos: each is looked at by its name."""
    if columns > MAX_COLUMNS:
        raise ValueError(f"it has {columns:,} columns, more than {MAX_COLUMNS:,}: keep those that are needed")


def _make_column(name: str, values: list[Any]) -> pl.Series:
    """Return values of JSON as a column; those of several kinds, lists and objects become texts."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} or (len(kinds) == 1 and kinds <= {str, bool}):
        try:
            return pl.Series(name, values, dtype=pl.Float64 if kinds == {int, float} else None)
        except OverflowError:
            pass
    return pl.Series(name, [_to_text(value) for value in values], dtype=pl.String)


def _to_text(value: Any) -> str | None:
    """Return a text as it is, and anything else as JSON."""
    return value if value is None or isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _read_parquet(path: Path) -> pl.DataFrame:
    """Read a Parquet file with plain columns; positions come from a geometry column where there are no others.

    Lists and structures become JSON texts, decimals numbers, and binary columns are left out with a word.
    """
    check_width(len(pl.read_parquet_schema(path)))
    table = pl.read_parquet(path)
    # Columns of geometries have types of their own, from Polars 1.36 on.
    table = table.with_columns(
        column.ext.storage()
        for column in table
        if type(column.dtype).__name__ == "Extension"  # type: ignore[attr-defined]
    )
    if not {find_field(name) for name in table.columns} & {"latitude", "utm_east"}:
        table = table.with_columns(_read_geometry(path, table))
    binary = [name for name, kind in table.schema.items() if kind == pl.Binary]
    geometries = _describe_geometries(path)
    others = [name for name in binary if name not in geometries]
    if others:
        logger.warning(f"Left out: the binary columns {', '.join(others)} of {path}")
    columns = []
    for column in table.drop({*binary, *geometries}, strict=False).iter_columns():
        if column.dtype.is_nested():
            column = _make_column(column.name, column.to_list())
        columns.append(column.cast(pl.Float64) if column.dtype.is_decimal() else column)
    return pl.DataFrame(columns)


def _describe_geometries(path: Path) -> dict[str, Any]:
    """Return what a GeoParquet file says of its geometry columns, the primary one first."""
    described = json.loads(pl.read_parquet_metadata(path).get("geo", "{}"))
    columns = described.get("columns", {})
    return dict(sorted(columns.items(), key=lambda item: item[0] != described.get("primary_column")))


def _read_geometry(path: Path, table: pl.DataFrame) -> list[pl.Series]:
    """Return latitude and longitude of the points of a GeoParquet file, or of its boxes; nothing where it has none."""
    described = _describe_geometries(path)
    names = [*described, *(name for name in table.columns if name.lower() in ("geometry", "geom", "wkb", "bbox"))]
    for name in (name for name in names if name in table.columns):
        crs = json.dumps(described.get(name, {}).get("crs") or "CRS84")
        if not re.search(r'CRS84|"code": "?4326\b|EPSG:4326', crs):
            raise ValueError(f"the points in {name} are not latitude and longitude on WGS 84: please reproject them")
        column = table[name]
        if column.dtype == pl.Binary:
            points = [_read_wkb(value) for value in column]
        elif column.dtype == pl.Struct:
            ends = [("x", "x", "y", "y"), ("xmin", "xmax", "ymin", "ymax")]
            fields = next((one for one in ends if {*one} <= {field.name for field in column.dtype.fields}), None)  # type: ignore[attr-defined]
            if fields is None:
                continue
            parts = (column.struct.field(field).cast(pl.Float64) for field in fields)
            west, east, south, north = parts
            points = list(zip((west + east) / 2, (south + north) / 2, strict=True))
        elif column.dtype in (pl.List, pl.Array):
            points = [tuple(value[:2]) if value is not None else (None, None) for value in column.to_list()]
        else:
            continue
        longitude, latitude = zip(*points, strict=True) if points else ((), ())
        return [pl.Series("latitude", latitude, pl.Float64), pl.Series("longitude", longitude, pl.Float64)]
    return []


def _read_wkb(value: bytes | None) -> tuple[float | None, float | None]:
    """Return x and y of a point in well-known binary (OGC 06-103r4, section 8), also with heights or PostGIS's SRID.

    Raises:
        ValueError: it is no point.
    """
    if value is None:
        return None, None
    order = "<" if value[:1] == b"\x01" else ">"
    (kind,) = struct.unpack_from(f"{order}I", value, 1)
    if kind % 1000 != 1 and kind & 0xFFFF != 1:
        raise ValueError("a geometry is no point")
    x, y = struct.unpack_from(f"{order}2d", value, 9 if kind & 0x20000000 else 5)
    return (x, y) if math.isfinite(x) and math.isfinite(y) else (None, None)


def _write_geojson(table: pl.DataFrame, path: Path) -> None:
    """Write each row as a point with the other columns as its properties."""
    features = []
    for row in table.iter_rows(named=True):
        latitude, longitude = (row.pop(name, None) for name in DEGREES)
        is_located = latitude is not None and longitude is not None
        geometry = {"type": "Point", "coordinates": [longitude, latitude]} if is_located else None
        features.append({"type": "Feature", "geometry": geometry, "properties": row})
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")


READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
    ".geojson": _read_geojson,
    ".json": _read_geojson,
}
WRITERS: dict[str, Callable[[pl.DataFrame, Path], Any]] = {
    ".csv": lambda table, path: table.write_csv(path),
    ".parquet": lambda table, path: table.write_parquet(path),
    ".geojson": _write_geojson,
}
