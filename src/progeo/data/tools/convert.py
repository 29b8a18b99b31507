"""Writing any set that can be read in another form: SF-XL file names, or a manifest."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl

from progeo.console import progress_bar
from progeo.data.file_names import FORBIDDEN, format_file_names
from progeo.data.manifest import write_manifest
from progeo.files import atomic_folder


def is_manifest(out: Path) -> bool:
    """Return whether photos are to be written as a manifest, which has an extension, or as a folder."""
    return out.suffix[1:].isalpha()


def write_photos(table: pl.DataFrame, out: Path, *, copy: bool = False) -> None:
    """Write the image table as a manifest, or its photos as links or copies into a folder, as ``out`` is named."""
    if is_manifest(out):
        write_manifest(table, out)
    else:
        write_named_photos(table, out, copy=copy)


def write_named_photos(table: pl.DataFrame, folder: Path, *, copy: bool = False) -> None:
    """Write the photos under SF-XL file names, as links or copies.

    They go into folders named after their ``split`` and ``role`` where the table has these columns. A photo without
    ``pano_id`` gets the name of its file for one, so that the new name says where it came from.

    Args:
        table: the image table.
        folder: where to; new or empty.
        copy: copy the files instead of linking to them.

    Raises:
        ProgeoError: the folder holds something already, or cannot be written.
    """
    stem = pl.col("path").str.extract(r"([^/\\]*?)(?:\.\w+)?$")
    parts = [pl.col(name).str.replace_all(FORBIDDEN, "_").str.strip_chars(".") for name in ("split", "role")]
    parts = [part for part in parts if part.meta.root_names()[0] in table.columns]
    table = table.with_columns(
        pano_id=pl.coalesce("pano_id", pl.when(~stem.str.contains("@")).then(stem)),
        folder=pl.concat_str(*parts, separator="/", ignore_nulls=True) if parts else pl.lit(""),
    )
    names = _make_names(table)

    with atomic_folder(folder) as temporary, progress_bar() as bar:
        task = bar.add_task("Copying" if copy else "Linking", total=len(table))
        for subfolder in table["folder"].unique():
            (temporary / subfolder).mkdir(parents=True, exist_ok=True)
        for path, subfolder, name in zip(table["path"], table["folder"], names, strict=True):
            target = temporary / subfolder / name
            if copy:
                shutil.copy2(path, target)
            else:
                target.symlink_to(Path(path).resolve())
            bar.advance(task)


def _make_names(table: pl.DataFrame) -> pl.Series:
    """Return a file name for each row, of which no two in one ``folder`` are the same."""
    names = format_file_names(table)
    number = table.select(pl.int_range(1, pl.len() + 1).over("folder", names)).to_series()
    if (number == 1).all():
        return names
    numbered = pl.when(number > 1).then(pl.concat_str(pl.col("pano_id").fill_null(""), pl.lit("_"), number))
    return _make_names(table.with_columns(pano_id=numbered.otherwise("pano_id")))
