"""Indexing on several machines without a cluster: each takes a shard of the photos, and one commits what they wrote.

A shard writes data files of the database's tables and commits nothing. A small JSON file beside the tables says which
they are, after each that is written: a shard that was killed goes on from there. ``commit_shards`` makes the files part
of the tables, one commit a shard.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from progeo.console import format_count
from progeo.errors import ProgeoError
from progeo.models.encoder import Encoder
from progeo.places import fragments, local, objects, storage, thumbnails
from progeo.places.commit import to_table
from progeo.places.encode import AddReport, Values
from progeo.places.plan import TO_COMPARE, complete, normalise, plan

if TYPE_CHECKING:
    from progeo.places.tables import Tables

FOLDER = "shards"


@dataclass
class Shard:
    """What the JSON file of a shard says."""

    shard: int
    """Its number, from 0."""
    shards: int
    """How many there are."""
    photos: str
    """Name of the database's table of photos."""
    fingerprint: str
    """Of the model."""
    version: int
    """Of the table of photos when the shard was begun."""
    photo_files: list[dict[str, Any]] = field(default_factory=list)
    """Fragments of the table of photos, as Lance describes them."""
    thumbnail_files: list[dict[str, Any]] = field(default_factory=list)
    rows: int = 0
    failed: int = 0
    is_finished: bool = False
    is_committed: bool = False

    @property
    def name(self) -> str:
        """Name of the file."""
        return f"{self.photos}-{self.shards}-{self.shard}.json"


@dataclass
class CommitReport:
    """What ``commit_shards`` did."""

    committed: list[Shard] = field(default_factory=list)
    before: int = 0
    """Shards that were in the table already."""
    unfinished: list[str] = field(default_factory=list)
    """Which shards are not finished, or have not been begun."""


def check_number(shard: int, shards: int) -> None:
    """Refuse the number of a shard that there is not.

    Raises:
        ProgeoError: says which there are.
    """
    if not 0 <= shard < shards:
        raise ProgeoError(
            f"`shard` {shard} of `shards` {shards}: shards are counted from 0, so give 0 to {shards - 1}."
        )


def take_shard(table: pl.DataFrame, shard: int, shards: int) -> pl.DataFrame:
    """Return the rows of a table with absolute paths that belong to a shard.

    That follows from the path alone, so that a photo is in one shard whatever else a machine has listed.
    """
    numbers = [zlib.crc32(path.encode()) % shards for path in table["path"]]
    return table.filter(pl.Series(numbers, dtype=pl.UInt32) == shard)


def index_shard(
    tables: Tables, table: pl.DataFrame, encoder: Encoder, shard: int, shards: int, report: AddReport
) -> None:
    """Encode what is new or has changed of a shard of an image table, and write it to files that are not committed yet.

    Raises:
        ProgeoError: there is no such shard, or the files cannot be written.
    """
    check_number(shard, shards)
    objects.check_commits(tables.address)
    state = _read(tables, Shard(shard, shards, tables.photos.name, tables.fingerprint, 0).name)
    if state is None or state.is_committed or state.fingerprint != tables.fingerprint:
        version = storage.find_latest_version(tables.photos, tables.address)
        state = Shard(shard, shards, tables.photos.name, tables.fingerprint, version)
    with storage.translate_errors(tables.address, "write to"):
        storage.complete_photos_table(tables.photos)
    photos, pictures = tables.photos, tables.pictures
    photos_uri, pictures_uri = _find_uri(tables, photos.name), _find_uri(tables, thumbnails.TABLE)
    state.photo_files = fragments.take_present(photos_uri, state.photo_files)
    state.is_finished = False
    present = [name for name in TO_COMPARE if name in photos.schema.names]
    written = complete(fragments.read_columns(photos_uri, state.photo_files, present), TO_COMPARE)

    def store(rows: list[Values]) -> int:
        if rows:
            with storage.translate_errors(tables.address, "write to"):
                state.photo_files += fragments.write(photos_uri, to_table(rows, photos.schema))
                if pictures is not None:
                    content = thumbnails.to_table(rows)
                    state.thumbnail_files += fragments.write(pictures_uri, content)
            state.rows += len(rows)
            _write(tables, state)
        return len(rows)

    mine = take_shard(normalise(table), shard, shards)
    slices = plan(photos, mine, report.failed, tables.address, written)
    local.run(store, slices, len(mine), encoder, report)
    state.photo_files = fragments.drop_replaced(photos_uri, state.photo_files, "path")
    state.failed, state.is_finished = len(report.failed), True
    _write(tables, state)


def commit_shards(tables: Tables) -> CommitReport:
    """Commit every finished shard that is not in the table yet, one commit each; doing it again changes nothing.

    A photo that is in the table already is replaced.

    Raises:
        ProgeoError: a shard is of another table or model, its files are gone, or the database cannot be written.
    """
    objects.check_commits(tables.address)
    report = CommitReport()
    names = objects.list_names(f"{tables.address.rstrip('/')}/{FOLDER}", ".json")
    states = [state for name in names if (state := _read(tables, name)) is not None]
    if not states:
        raise ProgeoError(
            f"There are no shards of {tables.address}. Write them first: progeo index PHOTOS with `shards` and `shard`."
        )
    waiting = [state for state in states if state.is_finished and not state.is_committed]
    for state in waiting:
        _check(tables, state)
    for state in waiting:
        with storage.translate_errors(tables.address, "write to"):
            pictures = tables.pictures
            if pictures is not None:
                fragments.commit(_find_uri(tables, thumbnails.TABLE), state.thumbnail_files, "id")
            fragments.commit(_find_uri(tables, tables.photos.name), state.photo_files, "path", state.version)
        state.is_committed, state.photo_files, state.thumbnail_files = True, [], []
        _write(tables, state)
        report.committed.append(state)
    storage.find_latest_version(tables.photos, tables.address)
    report.before = sum(state.is_committed for state in states) - len(report.committed)
    report.unfinished = _list_unfinished([state for state in states if state.photos == tables.photos.name])
    return report


def _check(tables: Tables, state: Shard) -> None:
    """Refuse a shard that does not belong to the database as it is now."""
    name = f"{FOLDER}/{state.name}"
    if state.photos != tables.photos.name:
        raise ProgeoError(
            f"Shard {state.shard} of {state.shards} ({name}) is of another table than {tables.address} has now: the "
            f"database was rebuilt, or the file is of another one. Delete {name}, and run the shard again."
        )
    if state.fingerprint != tables.fingerprint:
        raise ProgeoError(
            f"Shard {state.shard} of {state.shards} ({name}) was encoded by another model than that of "
            f"{tables.address}. Delete {name}, and run the shard again with the model of the database."
        )
    missing = len(state.photo_files) - len(
        fragments.take_present(_find_uri(tables, tables.photos.name), state.photo_files)
    )
    if missing:
        raise ProgeoError(
            f"{format_count(missing, 'data file')} of shard {state.shard} of {state.shards} ({name}) "
            f"{'is' if missing == 1 else 'are'} gone: files that are not committed within seven days are deleted. Run "
            "the shard again; it encodes what is missing."
        )


def _list_unfinished(states: Sequence[Shard]) -> list[str]:
    """Return which shards are still to come of those divisions of the photos of which there is any."""
    found = []
    for shards in sorted({state.shards for state in states}):
        done = {state.shard for state in states if state.shards == shards and state.is_finished}
        found += [f"{shard} of {shards}" for shard in range(shards) if shard not in done]
    return found


def _read(tables: Tables, name: str) -> Shard | None:
    content = objects.read(f"{tables.address.rstrip('/')}/{FOLDER}/{name}")
    if content is None:
        return None
    try:
        return Shard(**json.loads(content))
    except (TypeError, ValueError) as error:
        raise ProgeoError(
            f"{FOLDER}/{name} in {tables.address} is no file of a shard ({error}). Delete it, and run the shard again."
        ) from error


def _write(tables: Tables, state: Shard) -> None:
    objects.write(f"{tables.address.rstrip('/')}/{FOLDER}/{state.name}", json.dumps(asdict(state)).encode())


def _find_uri(tables: Tables, name: str) -> str:
    return f"{tables.address.rstrip('/')}/{name}.lance"
