"""Third step of indexing: rows into the database, or out of it, in commits that are whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from progeo.places import cells, storage, thumbnails, tidying

PATHS_PER_DELETION = 1000


@dataclass(frozen=True)
class Target:
    """Where photos go: a Lance table, and that of their thumbnails, of which this says how to find it.

    Attributes:
        photos: the Lance table.
        connection: to the database.
        address: of the database, for errors.
    """

    photos: Any
    connection: Any
    address: str

    def commit(self, rows: Sequence[dict[str, Any]]) -> int:
        """Store rows in one commit, in place of those with the same path; return how many they were."""
        if rows:
            with storage.translate_errors(self.address, "write to"):
                self.photos.checkout_latest()  # an upgrade may have moved the thumbnails
                storage.complete_photos_table(self.photos)
                pictures = thumbnails.open_thumbnails(self.connection, self.photos)
                if pictures is not None:
                    thumbnails.store(pictures, rows)
                    tidying.keep_small(pictures)
                merge = self.photos.merge_insert("path").when_matched_update_all().when_not_matched_insert_all()
                merge.execute(to_table(rows, self.photos.schema))
                tidying.keep_small(self.photos)
        return len(rows)

    def delete(self, paths: Sequence[str]) -> int:
        """Remove the rows with these paths; return how many there were."""
        with storage.translate_errors(self.address, "write to"):
            before = self.photos.count_rows()
            pictures = thumbnails.open_thumbnails(self.connection, self.photos) if paths else None
            for start in range(0, len(paths), PATHS_PER_DELETION):
                condition = f"path IN ({_list(paths[start : start + PATHS_PER_DELETION])})"
                ids = self.photos.search().where(condition).select(["id"]).to_arrow()["id"].to_pylist()
                self.photos.delete(condition)
                if pictures is not None and ids:
                    pictures.delete(f"id IN ({_list(ids)})")
            return int(before - self.photos.count_rows())


def to_table(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Return rows as a table of these columns, each with the cell that it lies in, where they are on the earth."""
    if cells.COLUMN not in schema.names:
        return pa.Table.from_pylist(list(rows), schema=schema)
    located = [row | {cells.COLUMN: cells.find_cell(row["latitude"], row["longitude"])} for row in rows]
    return pa.Table.from_pylist(located, schema=schema)


def _list(texts: Iterable[str]) -> str:
    return ", ".join(storage.quote(text) for text in texts)
