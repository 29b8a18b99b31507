"""Keypoints that a place database keeps, so that photos need not be read again for re-ranking."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from progeo.places import storage
from progeo.places.plan import scan
from progeo.places.tables import Tables
from progeo.search.keypoints import DamagedKeypointsError, Keypoints
from progeo.search.matching import Method

SLICE = 512
"""Photos per commit."""
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False, metadata=storage.PRIMARY_KEY),
        pa.field("path", pa.string()),
        pa.field("method", pa.string()),
        pa.field("content", pa.large_binary()),
    ]
)


def keep_keypoints(
    tables: Tables,
    method: Method,
    most: int,
    keypoints_of: Callable[[Method, str], Keypoints | None],
    advance: Callable[[int], object] = lambda photos: None,
) -> tuple[int, int]:
    """Keep at most so many keypoints of every photo that has none yet; return of how many photos, and the bytes.

    Args:
        tables: of the database.
        method: that makes them.
        most: keypoints of a photo.
        keypoints_of: gives those of a photo by its path; None where it cannot be read.
        advance: told how many more photos are done.

    Raises:
        ProgeoError: the database cannot be written; what was committed before is kept.
    """
    with storage.translate_errors(tables.address, "write to"):
        kept = tables.connection.create_table(storage.KEYPOINTS, schema=SCHEMA, exist_ok=True)
    tables.__dict__.pop("kept_keypoints", None)
    key = f"{method.key} {most}"
    condition = f"method = {storage.quote(key)}"
    done = {id for batch in scan(kept, ["id"], tables.address, condition) for id in batch["id"]}
    photos = bytes_kept = 0
    parts = (part for batch in scan(tables.photos, ["id", "path"], tables.address) for part in batch.iter_slices(SLICE))
    for part in parts:
        rows: list[dict[str, Any]] = []
        for id, path in part.rows():
            keypoints = None if id in done else keypoints_of(method, path)
            if keypoints is not None:
                content = keypoints.first(most).to_bytes()
                rows.append({"id": id, "path": path, "method": key, "content": content})
                photos, bytes_kept = photos + 1, bytes_kept + len(content)
        if rows:
            with storage.translate_errors(tables.address, "write to"):
                merge = kept.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
                merge.execute(pa.Table.from_pylist(rows, schema=SCHEMA))
        advance(len(part))
    return photos, bytes_kept


def read_keypoints(tables: Tables, method: Method, path: str) -> Keypoints | None:
    """Return the keypoints that a database keeps of a photo as it is now, by this method; None if there are none."""
    kept = tables.kept_keypoints
    if kept is None:
        return None
    where = f"path = {storage.quote(path)}"
    with storage.translate_errors(tables.address, "read"):
        found = kept.search().where(where).select(["id", "method", "content"]).to_arrow().to_pylist()
        found = [row for row in found if row["method"].rpartition(" ")[0] == method.key]
        if not found:
            return None
        photo = tables.photos.search().where(where).select(["id"]).limit(1).to_arrow().to_pylist()
    try:
        current = [row for row in found if [row["id"]] == [row["id"] for row in photo]]
        return Keypoints.from_bytes(current[0]["content"]) if current else None
    except DamagedKeypointsError:
        return None
