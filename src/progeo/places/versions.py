"""Names for versions of a place database, so that services stay at one while others change the database.

A name is a tag on each of the Lance tables. Versions from the one with a tag on are not deleted, until the tag moves.
The version that a name stood for before is kept until it moves once more, as services follow one by one.
"""

from __future__ import annotations

import re
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from progeo.errors import ProgeoError
from progeo.places import storage

if TYPE_CHECKING:
    from progeo.places.tables import Tables

PREVIOUS = ".previous"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
CLOCKS_DIFFER_BY = timedelta(hours=2)
"""Lance gives the time of a version in local time, which summer time shifts."""


def tag_version(tables: Tables, name: str) -> None:
    """Do what ``PlaceDatabase.tag`` says."""
    if not NAME.fullmatch(name):
        raise ProgeoError(
            f"A version cannot be named {name[:80]!r}: a name starts with a letter, and has up to 64 letters, digits, "
            "- and _."
        )
    tables.check_writable()
    tables.follow()
    with storage.translate_errors(tables.address, "write to"):
        # The settings come last: they say which table of photos belongs to them.
        present = [*tables.parts, tables.settings]
        for table in present:
            table.checkout_latest()
        if all(dict(_read(table)).get(name) == table.version for table in present):
            return
        for table in present:
            _move_tag(table, name, table.version)
        for table in _find_others(tables):
            _move_tag(table, name, None)
            drop_unless_tagged(tables.connection, table.name)


def untag(tables: Tables, name: str) -> None:
    """Do what ``PlaceDatabase.untag`` says."""
    tables.check_writable()
    tables.follow()
    with storage.translate_errors(tables.address, "write to"):
        if name not in tables.settings.tags.list():
            raise _describe_lack(tables.settings, name, tables.address)
        others = _find_others(tables)
        for table in (tables.settings, *tables.parts, *others):
            for tag in {name, name + PREVIOUS} & set(table.tags.list()):
                table.tags.delete(tag)
        for table in others:
            drop_unless_tagged(tables.connection, table.name)


def list_tags(tables: Tables) -> dict[str, int]:
    """Return the names, and the versions of the table of photos that they stand for."""
    names = tables.settings.tags.list()
    found = {name: version for table in (*_find_others(tables), tables.photos) for name, version in _read(table)}
    return {name: found[name] for name in sorted(names) if name in found}


def check_out(table: Any, version: int | str, address: str) -> None:
    """Let a Lance table show a version from now on, by its number or its tag.

    Raises:
        ProgeoError: there is none; the message says which there are.
    """
    try:
        table.checkout(version)
    except (RuntimeError, ValueError) as error:
        if "no longer exists" not in str(error) and "not found" not in str(error):
            raise
        raise _describe_lack(table, version, address) from error


def check_out_tag(table: Any, version: int | str | None) -> Any:
    """Return a table of what belongs to the photos at their version, where that is a tag and the table has it."""
    if isinstance(version, str) and version in table.tags.list():
        table.checkout(version)
    return table


def choose_age(table: Any, age: timedelta) -> timedelta:
    """Return how old versions of a table must be to be deleted: ``age``, or more, so that those with a tag stay."""
    kept = {version for _, version in _read(table)}
    times = [entry["timestamp"] for entry in table.list_versions() if entry["version"] in kept] if kept else []
    if not times:
        return age
    return max(age, timedelta(seconds=time.time() - min(times).timestamp()) + CLOCKS_DIFFER_BY)


def drop_unless_tagged(connection: Any, name: str) -> None:
    """Delete a table of photos that is not the database's any more, unless a version of it is kept."""
    if name in connection.list_tables().tables and not connection.open_table(name).tags.list():
        connection.drop_table(name, ignore_missing=True)


def _read(table: Any) -> list[tuple[str, int]]:
    return [(name, tag["version"]) for name, tag in table.tags.list().items()]


def _move_tag(table: Any, name: str, version: int | None) -> None:
    """Let a tag stand for a version, or for none in this table, and its other for what it stood for until now."""
    tags = dict(_read(table))
    for tag, new in ((name + PREVIOUS, tags.get(name)), (name, version)):
        if new is None:
            if tag in tags:
                table.tags.delete(tag)
        elif tag in tags:
            table.tags.update(tag, new)
        else:
            table.tags.create(tag, new)


def _find_others(tables: Tables) -> list[Any]:
    """Return the tables of photos that are kept for their tags, though the database has another now."""
    names = tables.connection.list_tables().tables
    others = [name for name in names if name.startswith(storage.PHOTOS) and name != tables.photos.name]
    return [table for name in others if (table := tables.connection.open_table(name)).tags.list()]


def _describe_lack(table: Any, version: int | str, address: str) -> ProgeoError:
    tags = ", ".join(sorted(name for name, _ in _read(table))) or "none"
    numbers = [entry["version"] for entry in table.list_versions()]
    return ProgeoError(
        f"The place database {address} has no version {version!r} (any more). There are {min(numbers)} to "
        f"{max(numbers)}, and these tags: {tags}. progeo database tag keeps the present version under a name."
    )
