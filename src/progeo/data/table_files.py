"""CSV, Parquet and GeoJSON files as plain tables, before anything is known of their columns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from progeo.errors import ProgeoError
from progeo.files import atomic_write

DEGREES = ("latitude", "longitude")


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
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
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
    """Read a CSV file as texts; the separator is the sign that its first line has most of."""
    text = path.read_bytes().decode("utf-8-sig")
    header, _, rows = text.partition("\n")
    separator = max(",;\t", key=header.count)
    try:
        return pl.read_csv(text.encode(), separator=separator, infer_schema=False)
    except pl.exceptions.ComputeError:
        width = header.count(separator) + 1
        for number, line in enumerate(rows.splitlines(), start=1):
            if line.count(separator) + 1 > width and '"' not in line:
                raise ProgeoError(
                    f"{path}: row {number} has more values than there are columns ({width}): {line[:100]}\n"
                    "Where numbers have decimal commas, separate the columns by semicolons."
                ) from None
        raise


def _read_geojson(path: Path) -> pl.DataFrame:
    """Read the points of a GeoJSON file (RFC 7946: longitude before latitude, on WGS 84)."""
    content = json.loads(path.read_text(encoding="utf-8-sig"))
    features = content.get("features") if isinstance(content, dict) else None
    if not isinstance(features, list):
        raise ValueError("there is no list of features")
    if not any(name in json.dumps(content.get("crs", "CRS84")) for name in ("CRS84", "4326")):
        raise ValueError("its coordinates are not latitude and longitude on WGS 84, as GeoJSON has them")
    rows = []
    for number, feature in enumerate(features, start=1):
        geometry = feature.get("geometry") or {}
        if geometry and geometry.get("type") != "Point":
            raise ValueError(f"feature {number} is a {geometry.get('type')}, not a Point")
        longitude, latitude = (geometry.get("coordinates") or [None, None])[:2]
        properties: dict[str, Any] = feature.get("properties") or {}
        rows.append({**properties, "latitude": latitude, "longitude": longitude})
    return pl.DataFrame(rows, infer_schema_length=None)


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
    ".parquet": pl.read_parquet,
    ".geojson": _read_geojson,
    ".json": _read_geojson,
}
WRITERS: dict[str, Callable[[pl.DataFrame, Path], Any]] = {
    ".csv": lambda table, path: table.write_csv(path),
    ".parquet": lambda table, path: table.write_parquet(path),
    ".geojson": _write_geojson,
}
