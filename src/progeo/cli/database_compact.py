"""``progeo database compact``: fewer files, and no more of them than the photos need."""

from __future__ import annotations

from dataclasses import dataclass

from progeo.cli.options import REQUIRED, option
from progeo.cli.spelling import say
from progeo.console import format_count


@dataclass(kw_only=True)
class CompactOptions:
    """Compacting"""

    database: str = option(REQUIRED, "place database: a folder, or an address in an object store", positional=True)


def run(options: CompactOptions) -> None:
    """Join small files, and delete old versions and thumbnails of photos that are gone."""
    from progeo.places.database import PlaceDatabase
    from progeo.places.upgrading import compact, describe

    with PlaceDatabase.open(options.database) as database:
        removed = compact(database._tables)
        tables = describe(database._tables).tables
    size = sum(table.all_bytes or table.bytes for table in tables)
    say(f"{options.database}: {size:,} bytes now, {format_count(removed, 'thumbnail')} of photos that are gone removed")
