"""Which column of somebody's table is which: the usual spellings, and ``columns`` for all others."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from progeo.data.file_names import FILE_NAME_FIELDS
from progeo.errors import ProgeoError

FIELDS: dict[str, pl.DataType] = {
    "path": pl.String(),
    **FILE_NAME_FIELDS,
    "latitude_reference": pl.String(),
    "longitude_reference": pl.String(),
    "heading_reference": pl.String(),
    "place": pl.String(),
    "split": pl.String(),
    "role": pl.String(),
    "sequence": pl.String(),
    "frame": pl.Float64(),
}
"""The columns that mean something to progeo, beside which a table may have any others."""

SPELLINGS: dict[str, tuple[str, ...]] = {
    "path": ("file", "filename", "filepath", "image", "imagepath", "imagefile", "imagename", "img", "imgpath", "photo"),
    "latitude": ("lat", "gpslatitude", "gpslat"),
    "longitude": ("lon", "lng", "long", "gpslongitude", "gpslon", "gpslng"),
    "utm_east": ("easting", "east", "utmeasting", "utmx"),
    "utm_north": ("northing", "north", "utmnorthing", "utmy"),
    "utm_zone": ("zone", "utmzonenumber", "zonenumber"),
    "utm_letter": ("letter", "zoneletter", "utmzoneletter", "band", "hemisphere"),
    "heading": ("bearing", "azimuth", "compass", "compassangle", "yaw", "direction", "gpsimgdirection"),
    "heading_reference": ("gpsimgdirectionref", "headingref"),
    "timestamp": ("time", "datetime", "date", "capturedat", "capturetime", "takenat", "datetimeoriginal"),
    "place": ("placeid", "locationid", "placename"),
    "split": ("subset", "partition", "set"),
    "sequence": ("sequenceid", "sequencekey", "seq", "trackid"),
    "pano_id": ("pano", "panoramaid"),
}
"""Other names of the columns, in small letters and without spaces and signs."""

_SAID = r"(ref|reference|hemi|hemisphere|dir|direction|cardinal|sign|{})[a-z]*"
REFERENCES = {
    "latitude_reference": r"(?!.*dest)([a-z]*lat(itude)?" + _SAID.format("ns") + "|(ref|hemi(sphere)?)lat(itude)?|ns|"
    "north(or)?south)",
    "longitude_reference": r"(?!.*dest)([a-z]*(lon|lng|long|longitude)" + _SAID.format("ew") + "|(ref|hemi(sphere)?)"
    "(lon|lng|long|longitude)|ew|east(or)?west)",
}
"""What columns are called that say north or south, east or west, after simplifying."""

LIKELY: dict[str, str] = {
    "path": ".*(name|path|file).*",
    "latitude": "y|.*lat.*|.*_y",
    "longitude": "x|.*lo?ng?.*|.*_x",
}
"""What a missing column may be called instead: too unsure to take, good enough to suggest."""


def parse_columns(text: str | Mapping[str, str]) -> dict[str, str]:
    """Read ``columns``: pairs such as ``latitude=Y,lon=X``, or a mapping, that say which column of a table is which.

    Raises:
        ProgeoError: it does not read so, or names something that progeo has no use for.
    """
    chosen = {}
    for pair in text.split(",") if isinstance(text, str) else map("=".join, text.items()):
        field, sign, column = (part.strip() for part in pair.partition("="))
        name = find_field(field)
        if not sign or not column or name is None:
            raise ProgeoError(
                f"`columns` {text}: {pair.strip()!r} is not understood. Write it as `columns` latitude=Y,longitude=X; "
                f"on the left can stand {', '.join(FIELDS)}."
            )
        chosen[name] = column
    return chosen


def find_columns(names: list[str], chosen: dict[str, str], source: Path) -> dict[str, str]:
    """Return for each field that a table has the name of its column there.

    Args:
        names: the table's columns.
        chosen: what the user has said, which goes first.
        source: the table's file, for error messages.

    Raises:
        ProgeoError: a chosen column does not exist, two columns may be the same field, or path or position are missing.
    """
    for field, column in chosen.items():
        if column not in names:
            raise ProgeoError(
                f"{source} has no column {column!r}, which `columns` takes for the {field}. {_list_columns(names)}"
            )
    columns = dict(chosen)
    for field in (name for name in FIELDS if name not in chosen):
        candidates = [name for name in names if find_field(name) == field and name not in chosen.values()]
        if len(candidates) > 1 and field not in candidates:
            raise ProgeoError(
                f"{source}: {' and '.join(candidates)} can both be the {field}. "
                f"Say which: `columns` {field}={candidates[0]}"
            )
        if candidates:
            columns[field] = field if field in candidates else candidates[0]
    if "hemi" in columns.get("utm_letter", "").lower() and not columns.keys() & {"utm_east", "latitude_reference"}:
        columns["latitude_reference"] = columns.pop("utm_letter")
    _check_complete(columns, names, source)
    return columns


def _check_complete(columns: dict[str, str], names: list[str], source: Path) -> None:
    """Raise an error that suggests columns where those for path or position are missing."""
    missing = [] if "path" in columns else ["path"]
    positions = [("utm_east", "utm_north"), ("latitude", "longitude")]
    if not any(columns.keys() >= set(pair) for pair in positions):
        half = next((pair for pair in positions if columns.keys() & set(pair)), positions[1])
        missing += [field for field in half if field not in columns]
    if not missing:
        return
    guesses = {field: _guess(field, [name for name in names if name not in columns.values()]) for field in missing}
    pairs = ",".join(f"{field}={guess or 'COLUMN'}" for field, guess in guesses.items())
    likely = "Perhaps" if any(guesses.values()) else "Name them with"
    raise ProgeoError(
        f"{source} has no column for the {' and '.join(missing)}. {_list_columns(names)} {likely} `columns` {pairs}"
        + (
            ""
            if "path" in missing and len(missing) == 1
            else " (UTM needs utm_east, utm_north and utm_zone; metres in a frame of their own, as of a floor "
            "plan, are `columns` utm_east=x,utm_north=y without a zone)"
        )
    )


def _guess(field: str, names: list[str]) -> str | None:
    """Return the column that looks most like a field."""
    for name in names:
        if field in LIKELY and re.fullmatch(LIKELY[field], name.lower()):
            return name
    spelled = {_simplify(name): name for name in names}
    near = difflib.get_close_matches(_simplify(field), spelled, n=1, cutoff=0.7)
    return spelled[near[0]] if near else None


def take_local_columns(table: pl.DataFrame) -> pl.DataFrame:
    """Return a table with columns ``x`` and ``y`` with these as ``utm_east`` and ``utm_north``, its only position."""
    local = {name.lower(): name for name in table.columns if name.lower() in ("x", "y")}
    if len(local) < 2:
        return table
    earthly = [
        name
        for name in table.columns
        if (find_field(name) or "").removesuffix("_reference") in ("latitude", "longitude")
        or (find_field(name) or "").startswith("utm_")
    ]
    return table.drop(earthly).rename({local["x"]: "utm_east", local["y"]: "utm_north"})


def find_field(name: str) -> str | None:
    """Return the field that a name means, or None."""
    simple = _simplify(name)
    return next(
        (field for field in FIELDS if simple in (_simplify(field), *SPELLINGS.get(field, ()))),
        next((field for field, pattern in REFERENCES.items() if re.fullmatch(pattern, simple)), None),
    )


def _simplify(name: str) -> str:
    """Return a name in small letters, without spaces and signs."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _list_columns(names: list[str]) -> str:
    return f"Its columns are {', '.join(names)}."
