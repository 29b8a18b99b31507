"""The test set: photos to search in and photos to look for, and by which rule a match is right."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from progeo.data.datasets import find_layout
from progeo.data.positions import match_zone
from progeo.data.table import find_manifest, read_photos
from progeo.errors import ProgeoError
from progeo.evaluation.protocols import Protocol, check_images, check_zones, select_queries

DATABASE_FOLDERS: tuple[str, ...] = ("database",)
QUERIES_FOLDERS: tuple[str, ...] = ("queries", "queries_v1", "queries_v2")


@dataclass(frozen=True)
class EvaluationSet:
    """Photos to search in and photos to look for, as image tables."""

    folder: str
    database: pl.DataFrame
    queries: pl.DataFrame
    protocol: Protocol | None = None
    """What fixes the evaluation; without it, positives lie within a distance that the options say."""
    differences: list[str] = field(default_factory=list)
    """How the images differ from what the protocol fixes."""


def read_evaluation_set(
    source: str | Path,
    *,
    queries_folder: str | None = None,
    cache_folder: str | Path | None = None,
    protocol: Protocol | None = None,
    columns: str | None = None,
    split: str = "test",
) -> EvaluationSet:
    """Read a folder with ``database`` and ``queries`` (else ``queries_v1``, ``queries_v2``, or the one named).

    In place of a folder it can be a manifest whose column ``role`` says which photos are which, or a published data set
    as its publishers distribute it; ``split`` is taken of it where it has splits, and ``columns`` says how a manifest's
    columns are called (see ``read_photos``).
    A protocol has its own names of the two folders, may take some of the queries only, and knows where the photos were
    taken and how many there are.

    Raises:
        ProgeoError: one of the two parts is missing or has no photos, or photos have no position; or it is another
            data set than the protocol's.
    """
    folder = _find_structure(Path(source), protocol)
    if find_manifest(folder) or find_layout(folder):
        split = protocol.split if protocol else split
        table = read_photos(folder, cache_folder, columns=columns, split=split)
        candidates = protocol.queries_folders if protocol else QUERIES_FOLDERS
        database, queries = _take_roles(table, folder, (queries_folder,) if queries_folder else candidates)
    elif folder.is_dir():
        database, queries = (
            read_photos(part, cache_folder, columns=columns) for part in _find_parts(folder, queries_folder, protocol)
        )
        queries = match_zone(queries, database)
    else:
        raise ProgeoError(
            f"There is no folder or manifest {folder}. Check the path (the current folder is {Path.cwd()})."
        )
    if protocol is None:
        return EvaluationSet(str(folder), database, queries)
    check_zones(protocol, str(folder), database, queries)
    queries = select_queries(protocol, database, queries)
    return EvaluationSet(
        str(folder), database, queries, protocol, check_images(protocol, str(folder), database, queries)
    )


def _find_structure(source: Path, protocol: Protocol | None) -> Path:
    """Return the structure that a protocol names, where the folder holds it, or else the source as it is."""
    if protocol is None or protocol.structure is None:
        return source
    places = (source / protocol.structure, source / "datasets" / protocol.structure)
    return next((place for place in places if place.is_file()), source)


def _take_roles(table: pl.DataFrame, source: Path, candidates: tuple[str, ...]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the database and the queries of one table."""
    roles = set(table["role"]) if "role" in table.columns else set()
    queries = next((name for name in candidates if name in roles), None)
    if queries is None or "database" not in roles:
        found = f"it says {', '.join(sorted(map(str, roles)))}" if roles else "there is no such column"
        raise ProgeoError(
            f"{source} must say in a column role which photos are database and which are "
            f"{' or '.join(candidates)}; {found}. A folder with database and queries does as well."
        )
    return table.filter(pl.col("role") == "database"), table.filter(pl.col("role") == queries)


def _find_parts(folder: Path, queries_folder: str | None, protocol: Protocol | None) -> tuple[Path, Path]:
    """Return the folders of database and queries; a protocol also looks inside the folder of its split."""
    places = [folder]
    database_names, queries_names = DATABASE_FOLDERS, QUERIES_FOLDERS
    if protocol:
        places += [folder / protocol.split, folder / "images" / protocol.split]
        database_names, queries_names = protocol.database_folders, protocol.queries_folders
    if queries_folder:
        queries_names = (queries_folder,)
    for place in places:
        database = next((place / name for name in database_names if (place / name).is_dir()), None)
        queries = next((place / name for name in queries_names if (place / name).is_dir()), None)
        if database and queries:
            return database, queries
    found = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir())) or "no folder"
    needs = f"For `protocol` {protocol.name}, {folder}" if protocol else str(folder)
    raise ProgeoError(
        f"{needs} must hold the folders {' or '.join(database_names)} and {' or '.join(queries_names)}; it holds "
        f"{found}. Another name of the queries can be given as `queries_folder` NAME."
    )
