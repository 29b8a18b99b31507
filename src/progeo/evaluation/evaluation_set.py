"""The test set: photos to search in and photos to look for, and by which rule a match is right."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from progeo.errors import ProgeoError
from progeo.evaluation.protocols import Protocol, check_images, select_queries
from progeo.images.table import read_image_table

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
    folder: str | Path,
    *,
    queries_folder: str | None = None,
    cache_folder: str | Path = "cache",
    protocol: Protocol | None = None,
) -> EvaluationSet:
    """Read a folder with ``database`` and ``queries`` (else ``queries_v1``, ``queries_v2``, or the one named).

    A protocol has its own names of the two folders, may take some of the queries only, and knows where the photos were
    taken and how many there are.

    Raises:
        ProgeoError: the folder or one of the two inside it is missing, holds no image, or names without coordinates;
            or it is another data set than the protocol's.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ProgeoError(f"There is no folder {folder}. Check the path (the current folder is {Path.cwd()}).")
    database, queries = (read_image_table(part, cache_folder) for part in _find_parts(folder, queries_folder, protocol))
    if protocol is None:
        return EvaluationSet(str(folder), database, queries)
    queries = select_queries(protocol, queries)
    return EvaluationSet(
        str(folder), database, queries, protocol, check_images(protocol, str(folder), database, queries)
    )


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
    needs = f"For --protocol {protocol.name}, {folder}" if protocol else str(folder)
    raise ProgeoError(
        f"{needs} must hold the folders {' or '.join(database_names)} and {' or '.join(queries_names)}; it holds "
        f"{found}. Another name of the queries can be given as --queries_folder NAME."
    )
