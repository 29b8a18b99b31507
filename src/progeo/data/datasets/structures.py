"""NetVLAD's structures of Pittsburgh and Tokyo: MATLAB files that list database, queries and their UTM positions.

One file such as ``pitts30k_test.mat`` is one split of one set. It stands in the folder of the images or in ``datasets``
below that. Where the images are depends on who unpacked them, so the usual places are tried with the first of each
half. Source: dbBase.m, dbPitts.m and dbTokyo247.m of Relja/netvlad, and Nanne/pytorch-NetVlad.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from progeo.console import format_count
from progeo.data.datasets.rows import drop_unlocated
from progeo.data.faults import Faults, set_aside
from progeo.data.listing import list_folders
from progeo.errors import ProgeoError

SUFFIX = ".mat"
SPLITS = {"pitts30k": ("_train", "_val", "_test"), "pitts250k": ("_train", "_val", "_test"), "tokyo247": ("",)}
FIELDS = ("dbImageFns", "utmDb", "qImageFns", "utmQ")
ZONES = {"pitts": (17, "T"), "tokyo": (54, "S")}
"""UTM zone and latitude band by how the name of a structure starts."""

DATABASE_PLACES = ("", "images", "database", "database_gsv_vga", "tokyo247")
QUERIES_PLACES = ("queries_real", "queries", "query", "247query_subset_v2", "tokyo247/247query_subset_v2")
EXTENSIONS = (".jpg", ".png")
"""Tokyo's database is listed as JPEG and distributed as PNG."""


def find_structures(folder: Path) -> list[Path]:
    """Return the structures in a folder, or in ``datasets`` below it."""
    names = [f"{name}{split}{SUFFIX}" for name, splits in SPLITS.items() for split in splits]
    paths = [place / name for place in (folder, folder / "datasets") for name in names]
    return [path for path in paths if path.is_file()]


def read_structure(source: Path, faults: Faults | None = None) -> pl.DataFrame:
    """Return the images that a structure lists: ``path``, UTM position and ``role``.

    Args:
        source: the structure's file.
        faults: gets the images that are not there or have no possible position, instead of an error.

    Raises:
        ProgeoError: the file is no such structure, or lists images that are not there or stand nowhere.
    """
    structure = _load(source)
    folder = source.parent.parent if source.parent.name == "datasets" else source.parent
    halves = []
    for role, names, positions, places in (
        ("database", "dbImageFns", "utmDb", DATABASE_PLACES),
        ("queries", "qImageFns", "utmQ", QUERIES_PLACES),
    ):
        files = pl.Series("file", [str(name) for name in np.atleast_1d(structure[names])], dtype=pl.String)
        utm = np.asarray(structure[positions], dtype=float).reshape(2, -1)
        if utm.shape[1] != len(files):
            raise ProgeoError(
                f"{source} is damaged: {len(files)} names in {names}, but {utm.shape[1]} positions in {positions}."
            )
        paths, is_there = _find_images(files.str.replace_all("\\", "/", literal=True), folder, places, source)
        half = pl.DataFrame({"path": paths, "utm_east": utm[0], "utm_north": utm[1]})
        halves.append(_take_existing(half, is_there, source, faults).with_columns(role=pl.lit(role)))
    table = pl.concat(halves)
    zone, letter = next((zone for start, zone in ZONES.items() if source.name.lower().startswith(start)), (None, None))
    table = table.with_columns(
        utm_zone=pl.lit(zone, pl.Int32),
        utm_letter=pl.lit(letter, pl.String),
        pano_id=pl.col("path").str.extract(r"([^/]*)\.\w+$"),
    )
    return drop_unlocated(table, source, faults)


def _load(source: Path) -> dict[str, Any]:
    """Return the fields of the structure in a file."""
    from scipy.io import loadmat  # takes half a second, which only readers of structures should wait

    try:
        content = loadmat(source, simplify_cells=True)
    except Exception as error:  # of damaged files SciPy raises nearly everything
        raise ProgeoError(f"{source} cannot be read as a MATLAB file: {error}") from error
    structure: Any = content.get("dbStruct")
    fields: dict[str, Any] = structure if isinstance(structure, dict) else {}
    missing = [name for name in FIELDS if name not in fields]
    if missing:
        names = ", ".join(fields or (name for name in content if not name.startswith("__")))
        raise ProgeoError(
            f"{source} is no structure of NetVLAD's data sets: its dbStruct lacks {', '.join(missing)}. It holds "
            f"{names or 'nothing'}."
        )
    return fields


def _find_images(names: pl.Series, folder: Path, places: tuple[str, ...], source: Path) -> tuple[pl.Series, pl.Series]:
    """Return the paths of the images that a structure names, in the first place that holds any, and which are there.

    Raises:
        ProgeoError: none of the usual places does.
    """
    stem = names.str.replace(r"\.\w+$", "")
    for place in places:
        paths = (folder / place).as_posix() + "/" + stem
        files = list_folders(paths.str.extract("^(.*)/")).implode()
        for extension in EXTENSIONS:
            is_there = (paths + extension).is_in(files)
            if is_there.any():
                return paths + extension, is_there
    looked = ", ".join(str(folder / place) for place in places)
    raise ProgeoError(f"The images that {source} lists are not there: looked for {names[0]} in {looked}.")


def _take_existing(half: pl.DataFrame, is_there: pl.Series, source: Path, faults: Faults | None) -> pl.DataFrame:
    """Return the images that are there; the others go to ``faults`` or are an error."""
    if faults is not None:
        problem = half.select(pl.when(~is_there).then(pl.lit(f"listed in {source}"))).to_series()
        return set_aside(half, problem, "file", faults)
    if not is_there.all():
        raise ProgeoError(
            f"{(~is_there).sum():,} of {format_count(len(half), 'image')} that {source} lists not found, first "
            f"{half['path'].filter(~is_there)[0]}. Please unpack the images again."
        )
    return half
