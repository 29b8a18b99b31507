"""``progeo database tag``: a name for the present version of a place database."""

from __future__ import annotations

from dataclasses import dataclass

from progeo.cli.options import REQUIRED, option
from progeo.cli.spelling import say


@dataclass(kw_only=True)
class TagOptions:
    """Tagging"""

    database: str = option(REQUIRED, "place database: a folder, or an address in an object store", positional=True)
    name: str = option(REQUIRED, "what to call this version with progeo serve --database_version", positional=True)
    remove: bool = option(False, "give the name up, so that progeo database compact may delete what it kept")


def run(options: TagOptions) -> None:
    """Let the name stand for the database as it is now, or for nothing."""
    from progeo.places.database import PlaceDatabase

    with PlaceDatabase.open(options.database) as database:
        if options.remove:
            database.untag(options.name)
            say(f"{options.database}: no version is kept as {options.name} any more")
        else:
            version = database.tag(options.name)
            say(f"{options.database}: version {version}, {len(database):,} photos, is kept as {options.name}")
