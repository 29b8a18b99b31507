"""Thumbnails of photos, in a table of their own: whoever searches, tidies or rebuilds need not touch them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from progeo.places import storage

TABLE = "thumbnails"
COLUMN = "thumbnail"
SCHEMA = pa.schema(
    [pa.field("id", pa.string(), nullable=False, metadata=storage.PRIMARY_KEY), pa.field(COLUMN, pa.binary())]
)
ROWS_PER_PART = 50_000
ROWS_PER_COMMIT = 512


def open_thumbnails(connection: Any, photos: Any) -> Any | None:
    """Return the table of thumbnails; None where they lie in the table of photos itself, as of an earlier progeo."""
    return None if COLUMN in photos.schema.names else connection.open_table(TABLE)


def create(connection: Any) -> Any:
    """Return the table of thumbnails, which is made where there is none."""
    return connection.create_table(TABLE, schema=SCHEMA, exist_ok=True)


def store(thumbnails: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Keep the thumbnails of photos by their ids; of an id there is one already, it is the same."""
    merge = thumbnails.merge_insert("id").when_not_matched_insert_all()
    merge.execute(to_table(rows))


def to_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Return the ids and thumbnails of rows as a table."""
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)


def read(table: Any, id: str) -> bytes | None:
    """Return the thumbnail with this id; None where there is none."""
    found = table.search().where(f"id = {storage.quote(id)}").select([COLUMN]).limit(1).to_arrow()
    content: bytes | None = found[COLUMN][0].as_py() if len(found) else None
    return content


def drop_orphans(thumbnails: Any, photos: Any) -> int:
    """Remove the thumbnails of photos that are gone or have changed; return how many there were."""
    before = thumbnails.count_rows()
    for condition in split(before):
        orphans = _read_ids(thumbnails, condition) - _read_ids(photos, condition)
        if orphans:
            thumbnails.delete("id IN (" + ", ".join(storage.quote(id) for id in sorted(orphans)) + ")")
    return int(before - thumbnails.count_rows())


def move(photos: Any, thumbnails: Any) -> int:
    """Copy the thumbnails that a table of photos holds and the other one does not; return how many they were."""
    moved = 0
    for condition in split(photos.count_rows()):
        missing = _read_ids(photos, condition) - _read_ids(thumbnails, condition)
        if not missing:
            continue
        query = photos.search().select(["id", COLUMN])
        batches = (query.where(condition) if condition else query).to_batches()
        while (batch := next(batches, None)) is not None:
            table = pl.DataFrame(pa.Table.from_batches([batch])).filter(pl.col("id").is_in(list(missing)))
            for part in table.drop_nulls(COLUMN).iter_slices(ROWS_PER_COMMIT):
                store(thumbnails, part.to_dicts())
                moved += len(part)
    return moved


def split(rows: int) -> Iterator[str | None]:
    """Yield conditions on ids, which are hexadecimal digits in no order, that make parts of a table of so many rows."""
    digits = 0
    while rows > ROWS_PER_PART * 16**digits:
        digits += 1
    if digits == 0:
        yield None
    else:
        yield from (f"id LIKE '{number:0{digits}x}%'" for number in range(16**digits))


def _read_ids(table: Any, condition: str | None) -> set[str]:
    query = table.search().select(["id"])
    return set((query.where(condition) if condition else query).to_arrow()["id"].to_pylist())
