"""``progeo database credits``: whom to name for the photos of a place database."""

from __future__ import annotations

import json
from dataclasses import dataclass

from progeo.cli.options import REQUIRED, option
from progeo.cli.spelling import say
from progeo.console import format_count


@dataclass(kw_only=True)
class CreditsOptions:
    """Credits"""

    database: str = option(REQUIRED, "place database: a folder, or an address in an object store", positional=True)
    json: bool = option(False, "print them as JSON, and nothing else, on stdout")


def run(options: CreditsOptions) -> None:
    """Print a line for each author and licence."""
    from progeo.places.database import PlaceDatabase

    with PlaceDatabase.open(options.database) as database:
        credits, photos = database.credits(), len(database)
    if options.json:
        print(json.dumps(credits.to_dicts(), indent=2, ensure_ascii=False))
        return
    for row in credits.iter_rows(named=True):
        source = f" via {row['source']}" if row["source"] else ""
        links = ", ".join(link for link in (row["licence_url"], row["page_url"]) if link)
        print(f"© {row['author']}{source}, {row['licence']}: {format_count(row['photos'], 'photo')} ({links})")
    own = photos - sum(credits["photos"])
    say(f"{format_count(own, 'photo')} of {photos:,} without an author to name")
