"""Encoding all photos of a place database anew, beside the old table, which serves until the new one is complete.

Others go on writing to the old table meanwhile. What they add, change or remove is carried over, again and again until
nothing has come, and once more after the new table has become the database. Whoever writes to the old table after that
sees that it is not the database any more, and does it again in the new one (``PlaceDatabase``).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from progeo.errors import ProgeoError
from progeo.models.encoder import Encoder
from progeo.places import local, storage, thumbnails, versions
from progeo.places.commit import Target
from progeo.places.encode import AddReport
from progeo.places.plan import FROM_TABLE, find_missing, join_stored, normalise, scan
from progeo.places.tables import Tables

SECONDS_TO_NOTICE = 2 * storage.READERS_NOTICE_CHANGES_AFTER.total_seconds()
"""The old photos stay for so long, that a running service goes over to the new ones without an error."""
MOST_ROUNDS = 10
"""Before the change-over; what still comes is carried over after it."""


def rebuild_photos(tables: Tables, model: bytes, encoder: Encoder, table: pl.DataFrame | None) -> AddReport:
    """Do what ``PlaceDatabase.rebuild`` says, with the encoder of a model and its content as a model file."""
    tables.check_writable()
    while True:
        old = _read_present(tables)
        try:
            return _rebuild(tables, model, encoder, table)
        except ProgeoError:
            present = _read_present(tables)
            if present["photos"] == old["photos"]:
                raise
            if present["fingerprint"] == encoder.fingerprint:  # another run has finished the same rebuilding
                report = AddReport()
                if table is not None:
                    with storage.translate_errors(tables.address, "write to"):
                        photos = tables.connection.open_table(present["photos"])
                    local.add_photos(Target(photos, tables.connection, tables.address), table, encoder, report)
                return report


def _read_present(tables: Tables) -> dict[str, Any]:
    storage.find_latest_version(tables.settings, tables.address)
    with storage.translate_errors(tables.address, "read"):
        return storage.read_description(tables.settings, "database") or {}


def _rebuild(tables: Tables, model: bytes, encoder: Encoder, table: pl.DataFrame | None) -> AddReport:
    address, connection, settings = tables.address, tables.connection, tables.settings
    with storage.translate_errors(address, "write to"):
        old = connection.open_table(_read_present(tables)["photos"])
        target = storage.read_description(settings, "rebuilding")
        if target is None or target["fingerprint"] != encoder.fingerprint:
            name = storage.create_photos_table(connection, encoder.descriptor_dim, tables.frame)
            target = storage.describe_database(encoder, name)
            storage.write_settings(settings, {"rebuilding": target})
        new = Target(connection.open_table(target["photos"]), connection, address)
        thumbnails.create(connection)
    move = Move(old, new, encoder)
    if table is not None:
        table = normalise(table)
        move.given = table.select("path")
        local.add_photos(new, table, encoder, move.report)
    for number in range(MOST_ROUNDS):
        version = storage.find_latest_version(old, address)
        move.carry_over(only_changed=number > 0)
        move.drop(new.photos, old)
        if storage.find_latest_version(old, address) == version:
            break
    report = move.report
    if report.added + report.kept == 0:
        reason = next(iter(report.failed.values()), "it holds none")
        raise ProgeoError(f"No photo of {address} could be encoded, so it stays as it was: {reason}")
    if _read_present(tables)["photos"] != old.name:
        raise ProgeoError(f"Another run has rebuilt {address} meanwhile.")
    with storage.translate_errors(address, "write to"):
        # From this one commit on the new table and its model are the database.
        storage.write_settings(settings, {"database": target, "model": model, "rebuilding": b"", "calibration": b""})
    if storage.find_latest_version(old, address) != version:
        move.carry_over(only_changed=True)
        before = connection.open_table(old.name)
        before.checkout(version)
        move.drop(before, old)
    try:
        time.sleep(SECONDS_TO_NOTICE)
    finally:
        with storage.translate_errors(address, "write to"):
            versions.drop_unless_tagged(connection, old.name)
    return report


@dataclass
class Move:
    """From one Lance table to another, with other descriptors."""

    old: Any
    new: Target
    encoder: Encoder
    report: AddReport = field(default_factory=AddReport)
    given: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema={"path": pl.String}))
    """Paths of photos that come from an image table, whatever the old table says of them."""

    def carry_over(self, only_changed: bool) -> None:
        """Encode the photos of the old table, or only those that the new one holds otherwise or not at all."""
        slices = self._compare(only_changed)
        local.run(self.new.commit, slices, self.old.count_rows(), self.encoder, self.report)

    def _compare(self, only_changed: bool) -> Iterator[pl.DataFrame]:
        for batch in scan(self.old, (*FROM_TABLE, "content_hash"), self.new.address):
            wanted = batch.rename({"content_hash": "old_hash"}).join(self.given, on="path", how="anti")
            joined = join_stored(self.new.photos, wanted, self.new.address)
            if only_changed:
                failed = pl.Series(list(self.report.failed), dtype=pl.String).implode()
                is_moved = pl.col("same_place") & pl.col("content_hash").eq_missing(pl.col("old_hash"))
                joined = joined.filter(~is_moved & ~pl.col("path").is_in(failed))
            yield joined

    def drop(self, these: Any, unless: Any) -> None:
        """Remove from the new table the photos that are in one table but not in another."""
        given = set(self.given["path"])
        missing = [path for path in find_missing(these, unless, self.new.address) if path not in given]
        self.new.delete(missing)
