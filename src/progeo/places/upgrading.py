"""What is known of a place database as a whole, and bringing one of an earlier progeo to the present form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from progeo.places import approximate, storage, thumbnails, tidying, versions

if TYPE_CHECKING:
    from progeo.places.tables import Tables


def upgrade(tables: Tables) -> int:
    """Move the thumbnails of a database of an earlier progeo into a table of their own; return how many were moved.

    The database serves meanwhile. Where it is interrupted, the next call goes on.

    Raises:
        ProgeoError: the database cannot be written.
    """
    moved = 0
    photos, address = tables.photos, tables.address
    with storage.translate_errors(address, "upgrade"):
        storage.complete_photos_table(photos)
        if thumbnails.COLUMN in photos.schema.names:
            pictures = thumbnails.create(tables.connection)
            version = 0
            while (latest := storage.find_latest_version(photos, address)) != version:
                version = latest
                moved += thumbnails.move(photos, pictures)
            photos.drop_columns([thumbnails.COLUMN])
            # What came in the moment before the column went is in the last version that had it.
            before = tables.connection.open_table(photos.name)
            before.checkout(storage.find_latest_version(photos, address) - 1)
            if thumbnails.COLUMN in before.schema.names:
                moved += thumbnails.move(before, pictures)
        description = storage.read_description(tables.settings, "database") or {}
        if description["format_version"] < storage.FORMAT_VERSION:
            changed = description | {"format_version": storage.FORMAT_VERSION}
            storage.write_settings(tables.settings, {"database": changed})
    tables.follow()
    return moved


@dataclass(frozen=True)
class TableInfo:
    """A table of a database."""

    name: str
    rows: int
    bytes: int
    """Of the newest version."""
    all_bytes: int | None
    """With older versions and what is being written; None in an object store."""
    files: int
    versions: int


@dataclass(frozen=True)
class Info:
    """What there is to know of a database."""

    format_version: int
    version: int
    """Of the table of photos."""
    tags: dict[str, int]
    """Names of versions that are kept, and their numbers in the table of photos."""
    tables: list[TableInfo]
    index: dict[str, Any] | None
    """Of the approximate index: ``photos`` in it and ``waiting``, ``segments``; None where there is none."""


def describe(tables: Tables) -> Info:
    """Return what there is to know of a database.

    Raises:
        ProgeoError: it cannot be read.
    """
    with storage.translate_errors(tables.address, "read"):
        description = storage.read_description(tables.settings, "database") or {}
        return Info(
            description["format_version"],
            int(tables.photos.version),
            versions.list_tags(tables),
            [_describe_table(table) for table in (*tables.parts, tables.settings)],
            approximate.describe(tables.photos),
        )


def _describe_table(table: Any) -> TableInfo:
    stats = table.stats()
    folder = tidying.measure_folder(table) or None
    files = stats["fragment_stats"]["num_fragments"]
    return TableInfo(table.name, table.count_rows(), stats["total_bytes"], folder, files, len(table.list_versions()))


def compact(tables: Tables) -> int:
    """Join small files, remove thumbnails that belong to no photo and old versions; return how many thumbnails.

    Readers of versions of the last ten seconds are not disturbed.

    Raises:
        ProgeoError: the database cannot be written.
    """
    removed = 0
    with storage.translate_errors(tables.address, "tidy up"):
        pictures = tables.pictures
        if pictures is not None:
            removed = thumbnails.drop_orphans(pictures, tables.photos)
        for table in (*tables.parts, tables.settings):
            tidying.optimize(table, tidying.READERS_HURRY_WITHIN)
    return removed
