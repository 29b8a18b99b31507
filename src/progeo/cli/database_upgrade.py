"""``progeo database upgrade``: bringing a place database of an earlier progeo to the present form."""

from __future__ import annotations

from dataclasses import dataclass

from progeo.cli.options import REQUIRED, option
from progeo.cli.spelling import say
from progeo.console import format_count


@dataclass(kw_only=True)
class UpgradeOptions:
    """Upgrading"""

    database: str = option(REQUIRED, "place database: a folder, or an address in an object store", positional=True)


def run(options: UpgradeOptions) -> None:
    """Move the thumbnails into a table of their own; the photos, the model and the calibration stay."""
    from progeo.places.database import PlaceDatabase
    from progeo.places.upgrading import upgrade

    with PlaceDatabase.open(options.database) as database:
        moved = upgrade(database._tables)
    say(
        f"{options.database}: {format_count(moved, 'thumbnail')} moved; the database has the present form, and earlier "
        "versions of progeo do not open it"
    )
