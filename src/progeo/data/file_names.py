"""SF-XL file names, which carry everything that place recognition needs between ``@`` signs::

    @utm_east@utm_north@utm_zone@utm_letter@latitude@longitude@pano_id@tile@heading@pitch@roll@height@timestamp@note@.jpg

Only east and north are always needed; the other fields may be empty or, from the end on, missing.
"""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import polars.selectors as cs

from progeo.console import format_count
from progeo.data.faults import Faults, set_aside
from progeo.data.timestamps import compact_timestamps
from progeo.errors import ProgeoError
from progeo.pixels.decoding import IMAGE_EXTENSIONS

FILE_NAME_FIELDS: dict[str, pl.DataType] = {
    "utm_east": pl.Float64(),
    "utm_north": pl.Float64(),
    "utm_zone": pl.Int32(),
    "utm_letter": pl.String(),
    "latitude": pl.Float64(),
    "longitude": pl.Float64(),
    "pano_id": pl.String(),
    "tile": pl.String(),
    "heading": pl.Float64(),
    "pitch": pl.Float64(),
    "roll": pl.Float64(),
    "height": pl.Float64(),
    "timestamp": pl.String(),
    "note": pl.String(),
}
"""The columns of the image table beside ``path``, in the order of the file name (field 0 stands before the first @)."""

FORMATS = {
    "utm_east": "010.2f",
    "utm_north": "010.2f",
    "latitude": ".8f",
    "longitude": ".8f",
    "heading": ".2f",
    "pitch": ".2f",
    "roll": ".2f",
    "height": ".2f",
}
FORBIDDEN = r'[@/\\:*?"<>|\x00-\x1f]'
FORMAT_HINT = (
    "file names must look like @utm_east@utm_north@...@.jpg, "
    "for example @0549100.12@4178022.50@10@S@@@@@270.00@@@@@@.jpg"
)


def parse_file_names(relative_paths: pl.Series, folder: str | Path = "", faults: Faults | None = None) -> pl.DataFrame:
    """Read the columns of the image table out of SF-XL file names.

    Args:
        relative_paths: paths as strings; only the part after the last ``/`` is parsed.
        folder: where the paths start, for error messages.
        faults: gets the photos whose name has no UTM coordinates, instead of an error.

    Raises:
        ProgeoError: a name has no UTM coordinates. A heading or another field that is not a number becomes null.
    """
    texts = {
        column: pl.col("fields").list.get(k, null_on_oob=True) for k, column in enumerate(FILE_NAME_FIELDS, start=1)
    }
    table = (
        pl.DataFrame({"path": relative_paths})
        .lazy()
        .with_columns(fields=_bare_name(relative_paths).str.split("@"))
        .select(
            "path",
            **{
                column: pl.when(text != "").then(text).cast(FILE_NAME_FIELDS[column], strict=False)
                for column, text in texts.items()
            },
        )
        .with_columns(pl.when(cs.float().is_finite()).then(cs.float()))
        .collect(engine="streaming")  # part by part, on all cores
    )
    if faults is not None:
        has_none = pl.any_horizontal(pl.col("utm_east", "utm_north").is_null())
        problem = table.select(pl.when(has_none).then(pl.lit("no UTM coordinates in its file name"))).to_series()
        return set_aside(table, problem, "position", faults)
    _check_coordinates(table, Path(folder))
    return table


def _bare_name(paths: pl.Series) -> pl.Expr:
    """Return the column ``path`` without folders and extension; regular expressions are slow: only if need be."""
    name = pl.col("path")
    if paths.str.ends_with(".jpg").all():
        name = name.str.strip_suffix(".jpg")
    else:
        name = name.str.replace(r"(?i)\.(" + "|".join(IMAGE_EXTENSIONS).replace(".", "") + ")$", "")
    if any(paths.str.contains(separator, literal=True).any() for separator in "/\\"):
        name = name.str.replace(r"(?s)^.*[/\\]", "")
    return name


def format_file_names(table: pl.DataFrame) -> pl.Series:
    """Return the SF-XL file name of each row of the image table, with the extension of its ``path``.

    Positions are written to a centimetre, headings to a hundredth of a degree; signs that a file name cannot hold, or
    that separate its fields, become ``_``.
    """
    table = table.with_columns(timestamp=compact_timestamps(pl.col("timestamp")))
    names = []
    for row in table.select(*FILE_NAME_FIELDS).iter_rows():
        values = zip(FILE_NAME_FIELDS, row, strict=True)
        fields = ["" if value is None else format(value, FORMATS.get(name, "")) for name, value in values]
        names.append("@".join(["", *(re.sub(FORBIDDEN, "_", field) for field in fields), ""]))
    return pl.Series("name", names, dtype=pl.String) + table["path"].str.extract(r"(\.\w+)$").fill_null("")


def _check_coordinates(table: pl.DataFrame, folder: Path) -> None:
    """Raise an error that names the first photo without a position; other fields may be anything."""
    for column in ("utm_east", "utm_north"):
        bad = table[column].is_null()
        if bad.any():
            example = folder / table["path"].filter(bad)[0]
            raise ProgeoError(
                f"{bad.sum():,} of {format_count(len(table), 'image')} without {column} in the file name, first "
                f"{example}: {FORMAT_HINT}"
            )
