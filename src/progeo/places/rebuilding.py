"""Describing all photos of a place database anew, beside the old table, which serves until the new one is complete."""

from __future__ import annotations

import time
from typing import Any

import polars as pl

from progeo.errors import ProgeoError
from progeo.places import storage
from progeo.places.adding import AddReport, add_photos
from progeo.places.describing import Describer

SECONDS_TO_NOTICE = 2 * storage.READERS_NOTICE_CHANGES_AFTER.total_seconds()
"""The old photos stay for so long, that a running service goes over to the new ones without an error."""


def rebuild_photos(
    connection: Any, settings: Any, table: pl.DataFrame, describer: Describer, address: str
) -> AddReport:
    """Do what ``PlaceDatabase.rebuild`` says, with all photos in ``table``."""
    network = describer.network
    with storage.translate_errors(address, "write to"):
        target = storage.read_description(settings, "rebuilding")
        if target is None or target["fingerprint"] != storage.compute_fingerprint(network):
            name = storage.create_photos_table(connection, network.fc_output_dim)
            target = storage.describe_database(network, name)
            storage.write_settings(settings, {"rebuilding": target})
        photos = connection.open_table(target["photos"])
    report = add_photos(photos, table, describer, address)
    if report.added + report.kept == 0:
        reason = next(iter(report.failed.values()), "it holds none")
        raise ProgeoError(f"No photo of {address} could be described anew, so it stays as it was: {reason}")
    with storage.translate_errors(address, "write to"):
        old = storage.read_description(settings, "database")
        # From this one commit on the new table and its model are the database.
        storage.write_settings(
            settings,
            {"database": target, "model": storage.encode_model(network), "rebuilding": b"", "calibration": b""},
        )
        if old is not None:
            try:
                time.sleep(SECONDS_TO_NOTICE)
            finally:
                connection.drop_table(old["photos"])
    return report
