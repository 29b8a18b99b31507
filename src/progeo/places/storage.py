"""How a place database lies in LanceDB: a table of photos, one of their thumbnails, and a small one of everything else.

All are Lance tables, so that one code serves a folder and an object store, and every change is one atomic commit.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from progeo import remote
from progeo.data.credits import SHOT_COLUMNS
from progeo.data.frames import EARTH, Frame, find_frame
from progeo.errors import ProgeoError
from progeo.models.encoder import Encoder
from progeo.places import cells
from progeo.places.lance import lancedb
from progeo.plain import parse_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FORMAT_VERSION = 3
"""Since 2 a database holds the spec of its model, since 3 thumbnails in a table of their own, and it may be of a local
frame. Earlier ones are read and written, and stay what they are until they are rebuilt or upgraded."""
SETTINGS = "settings"
PHOTOS = "photos_"
"""How names of tables of photos start."""
KEYPOINTS = "keypoints"
LOCK = ".creating"
# Makes two writers that insert one key at once notice each other; otherwise both rows would stay.
PRIMARY_KEY = {"lance-schema:unenforced-primary-key": "true"}
SETTINGS_SCHEMA = pa.schema(
    [pa.field("key", pa.string(), nullable=False, metadata=PRIMARY_KEY), pa.field("value", pa.large_binary())]
)
SOURCE_LINE = re.compile(r",? \S+\.rs:\d+(:\d+)?")
"""Where in Lance's own code something failed."""
INDEX_CACHE_GB = 6.0
"""Gigabytes of indices that a connection holds in memory: those of about 70 million photos."""
READERS_NOTICE_CHANGES_AFTER = timedelta(seconds=2)


def make_photos_schema(dimension: int, frame: Frame = EARTH) -> pa.Schema:
    """Return the columns of a photo in the database."""
    numbers = [*frame, *(("utm_east", "utm_north") if frame == EARTH else ())]
    return pa.schema(
        [
            pa.field("path", pa.string(), nullable=False, metadata=PRIMARY_KEY),
            pa.field("id", pa.string()),
            pa.field("content_hash", pa.string()),
            pa.field("file_size", pa.int64()),
            pa.field("file_time", pa.int64()),
            *(pa.field(name, pa.float64()) for name in numbers),
            *([pa.field("utm_zone", pa.int32())] if frame == EARTH else []),
            pa.field("heading", pa.float64()),
            pa.field("timestamp", pa.timestamp("us")),
            *(pa.field(name, pa.string()) for name in SHOT_COLUMNS),
            *([pa.field(cells.COLUMN, pa.int32())] if frame == EARTH else []),
            pa.field("descriptor", pa.list_(pa.float16(), dimension)),
        ]
    )


def create_photos_table(connection: Any, dimension: int, frame: Frame = EARTH) -> str:
    """Make an empty table of photos and return its name, which no other table has or had."""
    name = f"{PHOTOS}{uuid.uuid4().hex[:12]}"
    connection.create_table(name, schema=make_photos_schema(dimension, frame))
    return name


def complete_photos_table(photos: Any) -> None:
    """Add the columns that a table of photos made by an earlier progeo lacks."""
    columns = dict.fromkeys(SHOT_COLUMNS, "cast(NULL as string)")
    if find_frame(photos.schema.names) == EARTH:
        columns[cells.COLUMN] = cells.SQL
    missing = {name: sql for name, sql in columns.items() if name not in photos.schema.names}
    if missing:
        photos.add_columns(missing)


def describe_database(encoder: Encoder, photos: str) -> dict[str, Any]:
    """Return what a database says of itself: its format, its model, and the name of its table of photos."""
    return {
        "format_version": FORMAT_VERSION,
        "fingerprint": encoder.fingerprint,
        "spec": encoder.spec.to_dict(),
        "photos": photos,
    }


@contextmanager
def lock_creation(address: str) -> Iterator[None]:
    """Let one process at a time make a database in a folder; the others wait, and find it made.

    The lock goes with the process that holds it. In an object store ``create_settings`` tells who was first.
    """
    if remote.is_remote(address) or fcntl is None:
        yield
        return
    with translate_errors(address, "create"):
        Path(address).mkdir(parents=True, exist_ok=True)
        lock = (Path(address) / LOCK).open("a")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def create_settings(connection: Any, description: dict[str, Any], model: bytes) -> Any:
    """Make the table of settings: from this one commit on there is a database.

    Lance lets two processes make one table at the same moment: the later one then writes a second version over the
    first. Whoever has written version 1 has won, and the others put back what that has become.

    Raises:
        FileExistsError: another process has made it.
    """
    try:
        settings = connection.create_table(SETTINGS, make_settings({"database": description, "model": model}))
    except ValueError as error:
        if SETTINGS in connection.list_tables().tables:
            raise FileExistsError(str(error)) from error
        raise
    earlier = connection.open_table(SETTINGS)
    earlier.checkout(1)
    winner = (read_description(earlier, "database") or description)["photos"]
    if winner == description["photos"]:
        return settings
    for version in sorted((entry["version"] for entry in settings.list_versions()), reverse=True):
        earlier.checkout(version)
        if (read_description(earlier, "database") or description)["photos"] == winner:
            earlier.restore()
            break
    raise FileExistsError(f"Table '{SETTINGS}' already exists")


class StorageError(ProgeoError):
    """The storage of a place database fails, or what it holds is damaged."""


@contextmanager
def translate_errors(address: str, what: str) -> Iterator[None]:
    """Turn the errors of the storage into one StorageError that says what was attempted and where."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        text = SOURCE_LINE.sub("", " ".join(str(error).split()))
        reasons = {
            "No space left": "the disk is full. Free some space and run the same command again",
            "Permission denied": "permission denied. Check who may write there",
            "Read-only file system": "it is read-only. Choose another place, or make it writable",
        }
        reason = next((reason for mark, reason in reasons.items() if mark in text), text)
        if remote.is_remote(address):
            reason = remote.describe_trouble(text)
        raise StorageError(
            f"Cannot {what} the place database {address}: {reason}. What was stored before is kept."
        ) from error


def connect(address: str, purpose: str = "open", index_cache_gb: float = INDEX_CACHE_GB) -> Any:
    """Return the connection to a folder or an object store; errors say what it was wanted for."""
    if address.startswith("s3://") and "AWS_ENDPOINT" in os.environ and not remote.has_credentials():
        # The library would ask Amazon's machines for some, for minutes.
        raise StorageError(f"Cannot {purpose} the place database {address}: {remote.NO_CREDENTIALS}.")
    with translate_errors(address, purpose):
        session = lancedb.Session(index_cache_size_bytes=int(index_cache_gb * 1e9))
        return lancedb.connect(address, read_consistency_interval=READERS_NOTICE_CHANGES_AFTER, session=session)


def read_setting(settings: Any, key: str) -> bytes:
    """Return what is stored under a key, nothing if there is nothing."""
    rows = settings.search().where(f"key = '{key}'").select(["value"]).limit(1).to_arrow()
    return (rows["value"][0].as_py() or b"") if len(rows) else b""


def read_description(settings: Any, key: str) -> dict[str, Any] | None:
    """Return the JSON object stored under a key, or None; ValueError where it is none."""
    content = read_setting(settings, key)
    return parse_json(content) if content else None


def write_settings(settings: Any, values: dict[str, bytes | dict[str, Any]]) -> None:
    """Store values, bytes or what JSON can hold, under their keys; all in one commit."""
    merge = settings.merge_insert("key").when_matched_update_all().when_not_matched_insert_all()
    merge.execute(make_settings(values))


def make_settings(values: dict[str, bytes | dict[str, Any]]) -> pa.Table:
    """Return rows of the table of settings."""
    contents = [value if isinstance(value, bytes) else json.dumps(value).encode() for value in values.values()]
    return pa.table({"key": list(values), "value": contents}, schema=SETTINGS_SCHEMA)


def quote(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def find_latest_version(table: Any, address: str) -> int:
    """Return the number of the newest version of a Lance table, which its handle shows from now on."""
    with translate_errors(address, "read"):
        table.checkout_latest()
        return int(table.version)
