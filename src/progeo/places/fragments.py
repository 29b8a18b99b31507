"""Data files of a Lance table that are written first and committed later, by way of pylance.

The library is optional. It must be of the same Lance as LanceDB is, as other versions write indices that this one reads
wrongly without a word (Lance issue 7078).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from typing import Any

import polars as pl
import pyarrow as pa

from progeo.errors import ProgeoError, how_to_install, require
from progeo.places import storage

KEYS_PER_QUERY = 4096
LANCE_OF_LANCEDB = {"0.40.0": "13.0.0"}
"""Which Lance is in which LanceDB; the extra ``shards`` installs the two together."""

Fragments = list[dict[str, Any]]
"""Fragments as Lance describes them in JSON."""


def load() -> Any:
    """Return pylance.

    Raises:
        ProgeoError: it is not installed, or not the one that fits LanceDB.
    """
    lance = require("lance", "Indexing in shards")
    found = version("lancedb")
    if LANCE_OF_LANCEDB.get(found) != lance.__version__:
        raise ProgeoError(
            f"pylance {lance.__version__} and lancedb {found} do not fit each other: "
            f"{how_to_install('shards')} installs two that do."
        )
    return lance


def write(uri: str, rows: pa.Table) -> Fragments:
    """Write rows to data files of a table, and return what they are; the table does not change."""
    load()
    from lance.fragment import write_fragments

    return [fragment.to_json() for fragment in write_fragments(rows, uri, schema=rows.schema, mode="append")]


def commit(uri: str, written: Fragments, key: str, since: int = 0) -> None:
    """Make written files part of a table in one commit, in place of rows with the same keys.

    What is in the table, or has been in a version after ``since``, is not added again.
    """
    lance = load()
    from lance.commit import CommitConflictError
    from lance.fragment import FragmentMetadata

    before: set[int] | None = None
    while written:
        table = lance.dataset(uri)
        came = _list_files(table, since)
        new = [fragment for fragment in written if not came & set(_list_paths(fragment))]
        if not new:
            break
        present = table.get_fragments()
        if not present:
            # Two additions to an empty table would both succeed; of one row each, by its key, only one does.
            row = _read_files(uri, new[:1]).slice(0, 1)
            table.merge_insert(key).when_matched_update_all().when_not_matched_insert_all().execute(row)
            continue
        updated, removed = _delete_rows(table, find_rows(table, key, read_columns(uri, new, [key])[key]), key)
        if not updated and not removed:
            # To name a fragment makes another commit of the same shard a conflict.
            updated = [present[0].metadata]
        added = [FragmentMetadata.from_json(json.dumps(fragment)) for fragment in new]
        change = lance.LanceOperation.Update(
            removed_fragment_ids=removed, updated_fragments=updated, new_fragments=added
        )
        try:
            lance.LanceDataset.commit(uri, change, read_version=table.version)
        except CommitConflictError:
            continue
        before = {fragment.fragment_id for fragment in present}
    _settle(uri, written, key, before)


def _settle(uri: str, written: Fragments, key: str, before: set[int] | None) -> None:
    """Remove rows of committed files whose keys another process has stored in the moment of the commit.

    Args:
        uri: of the table.
        written: the files.
        key: a column.
        before: fragments that were there and have been looked through already; None where that is not known.
    """
    lance = load()
    from lance.commit import CommitConflictError

    paths = {path for fragment in written for path in _list_paths(fragment)}
    while True:
        table = lance.dataset(uri)
        present = table.get_fragments()
        ours = {found.fragment_id for found in present if paths & {file.path for file in found.data_files()}}
        if before is None:
            keys = read_columns(uri, written, [key])[key]
        else:
            came = [found for found in present if found.fragment_id not in before | ours]
            keys = pl.Series(key, [value for found in came for value in found.to_table([key])[key].to_pylist()])
        rows = find_rows(table, key, keys.cast(pl.String)) if ours and len(keys) else {}
        elsewhere = {value for number, values in rows.items() if number not in ours for value in values}
        doubled = {number: [value for value in values if value in elsewhere] for number, values in rows.items()}
        doubled = {number: values for number, values in doubled.items() if values and number in ours}
        if not doubled:
            return
        updated, removed = _delete_rows(table, doubled, key)
        change = lance.LanceOperation.Update(removed_fragment_ids=removed, updated_fragments=updated)
        try:
            lance.LanceDataset.commit(uri, change, read_version=table.version)
        except CommitConflictError:
            continue
        return


def find_rows(table: Any, key: str, keys: pl.Series) -> dict[int, list[str]]:
    """Return which of some keys a table holds, by the number of the fragment."""
    found: dict[int, list[str]] = {}
    for part in keys.to_frame().iter_slices(KEYS_PER_QUERY):
        condition = f"{key} IN ({_quote(part[key])})"
        rows = table.scanner(columns=[key], filter=condition, with_row_address=True).to_table()
        for value, address in zip(rows[key].to_pylist(), rows["_rowaddr"].to_pylist(), strict=True):
            found.setdefault(address >> 32, []).append(value)
    return found


def take_present(uri: str, written: Fragments) -> Fragments:
    """Return those written files that are still there; what is not committed for seven days is deleted."""
    present = []
    for fragment in written:
        try:
            for path in _list_paths(fragment):
                _open_file(uri, path)
        except (OSError, ValueError):
            continue
        present.append(fragment)
    return present


def read_columns(uri: str, written: Fragments, columns: Sequence[str]) -> pl.DataFrame:
    """Return columns of written files, of which one that the table lacks is null."""
    parts = [pl.DataFrame(schema=dict.fromkeys(columns, pl.String))]
    for table in _iterate(uri, written, columns):
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        parts.append(frame)
    if len(parts) == 1:
        return parts[0]
    return pl.concat(parts[1:], how="diagonal_relaxed").select(columns)


def drop_replaced(uri: str, written: Fragments, key: str) -> Fragments:
    """Return written files without rows whose key comes again in a later one; those with any are written anew."""
    kept: Fragments = []
    later: set[str] = set()
    for fragment in reversed(written):
        keys = read_columns(uri, [fragment], [key])[key]
        stays = ~keys.is_in(list(later))
        if stays.all():
            kept.append(fragment)
        elif stays.any():
            kept += write(uri, _read_files(uri, [fragment]).filter(pa.array(stays.to_list())))
        later |= set(keys)
    return kept[::-1]


def _delete_rows(table: Any, rows: dict[int, list[str]], key: str) -> tuple[list[Any], list[int]]:
    """Return the fragments without these rows, and the numbers of those of which nothing is left."""
    updated, removed = [], []
    for number, keys in rows.items():
        rest = table.get_fragment(number).delete(f"{key} IN ({_quote(keys)})")
        if rest is None:
            removed.append(number)
        else:
            updated.append(rest)
    return updated, removed


def _list_files(table: Any, since: int) -> set[str]:
    """Return the data files of the newest version of a table, and of those after another that are still there."""
    lance = load()
    versions = [entry["version"] for entry in table.versions() if since < entry["version"] < table.version]
    files = {file.path for fragment in table.get_fragments() for file in fragment.data_files()}
    for number in versions if since else ():
        earlier = lance.dataset(table.uri, version=number)
        files |= {file.path for fragment in earlier.get_fragments() for file in fragment.data_files()}
    return files


def _list_paths(fragment: dict[str, Any]) -> list[str]:
    return [file["path"] for file in fragment["files"]]


def _read_files(uri: str, written: Fragments) -> pa.Table:
    return pa.concat_tables(list(_iterate(uri, written, None)))


def _iterate(uri: str, written: Fragments, columns: Sequence[str] | None) -> Iterator[pa.Table]:
    for fragment in written:
        for path in _list_paths(fragment):
            yield _open_file(uri, path, columns).read_all().to_table()


def _open_file(uri: str, path: str, columns: Sequence[str] | None = None) -> Any:
    load()
    from lance.file import LanceFileReader

    return LanceFileReader(f"{uri}/data/{path}", columns=None if columns is None else list(columns))


def _quote(texts: Iterable[str]) -> str:
    return ", ".join(storage.quote(text) for text in texts)
