"""Third step of indexing: rows into the database, or out of it, in commits that are whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from progeo.places import storage

PATHS_PER_DELETION = 1000


def commit(photos: Any, rows: Sequence[dict[str, Any]], address: str) -> int:
    """Store rows in one commit, in place of those with the same path; return how many they were."""
    if rows:
        with storage.translate_errors(address, "write to"):
            storage.complete_photos_table(photos)
            merge = photos.merge_insert("path").when_matched_update_all().when_not_matched_insert_all()
            merge.execute(pa.Table.from_pylist(list(rows), schema=photos.schema))
    return len(rows)


def delete(photos: Any, paths: Sequence[str], address: str) -> int:
    """Remove the rows with these paths; return how many there were."""
    with storage.translate_errors(address, "write to"):
        before = photos.count_rows()
        for start in range(0, len(paths), PATHS_PER_DELETION):
            some = ", ".join(storage.quote(path) for path in paths[start : start + PATHS_PER_DELETION])
            photos.delete(f"path IN ({some})")
        return int(before - photos.count_rows())
