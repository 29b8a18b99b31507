"""``progeo index``: photos with known positions into a place database."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from progeo.cli.index import IndexOptions
from progeo.console import console, format_count
from progeo.data.located import read_photos
from progeo.errors import ProgeoError
from progeo.models.network import PlaceNetwork
from progeo.models.published import load_model
from progeo.places import storage
from progeo.places.adding import AddReport
from progeo.places.database import PlaceDatabase
from progeo.places.describing import describing_settings

FAILURES_SHOWN = 10


def run_index(options: IndexOptions) -> AddReport:
    """Run ``progeo index``: add what is new or has changed, say what was done, and return the same as a report.

    Raises:
        ProgeoError: no photos are given, none of them could be added, or the database is of another model.
    """
    if not (options.photos or options.prune or options.rebuild):
        raise ProgeoError("Please give the photos: progeo index PHOTOS `database` DATABASE.")
    if options.image_size is not None and options.model is None:
        raise ProgeoError("`image_size` belongs to `model`: the database keeps both. Please give `model` too.")
    failed: dict[str, str] = {}
    tables = [read_photos(source, options, "database", failed) for source in options.photos]
    table = pl.concat(tables, how="diagonal_relaxed") if tables else None
    network = None if options.model is None else load_resized(options.model, options.image_size)
    with open_or_create(options, network) as database:
        report = change(database, table, network, options, failed)
        gone = database.prune() if options.prune else 0
        print_report(report, gone, len(database), options)
        # An earlier run may have been stopped before it came to this.
        if (report.added or gone or database.lacks_index) and (remark := database.refresh_index()):
            console.print(remark)
    return report


def load_resized(model: str, image_size: int | None) -> PlaceNetwork:
    """Load a model, to be used at another image size if one is given."""
    network = load_model(model)
    if image_size is not None:
        network.preprocessing = replace(network.preprocessing, image_size=image_size)
    return network


def open_or_create(options: IndexOptions, network: PlaceNetwork | None) -> PlaceDatabase:
    """Open the database, or make it where there is none and a model is given."""
    settings = describing_settings(options)
    if network is None or PlaceDatabase.exists(options.database):
        return PlaceDatabase.open(options.database, **settings)
    try:
        return PlaceDatabase.create(options.database, network, **settings)
    except ProgeoError:
        if PlaceDatabase.exists(options.database):  # another run has made it in this very moment
            return PlaceDatabase.open(options.database, **settings)
        raise


def change(
    database: PlaceDatabase,
    table: pl.DataFrame | None,
    network: PlaceNetwork | None,
    options: IndexOptions,
    failed: dict[str, str],
) -> AddReport:
    """Add the table to the database, or build it anew; photos that ``failed`` already are reported with the others."""
    if options.rebuild:
        report = database.rebuild(network, table)
    elif network is not None and storage.compute_fingerprint(network) != database.fingerprint:
        raise ProgeoError(
            f"The photos in {options.database} are described by another model than {options.model}, or at another "
            "image size. Leave out `model` to go on as before, or give `rebuild` to describe all of them anew."
        )
    else:
        report = AddReport() if table is None else database.add(table)
    report.failed |= failed
    if report.failed and len(database) == 0:
        raise ProgeoError(
            f"None of {format_count(len(report.failed), 'photo')} could be added, {describe_failures(report.failed)}"
        )
    return report


def print_report(report: AddReport, gone: int, count: int, options: IndexOptions) -> None:
    """Say what was done."""
    done = f"{format_count(report.added, 'photo')} added, {report.kept:,} kept, {len(report.failed):,} failed"
    if options.prune:
        done += f", {gone:,} removed as their file is gone"
    console.print(f"{options.database}: {done}; it holds {count:,} now", markup=False, soft_wrap=True)
    if report.failed:
        console.print(f"Failed: {describe_failures(report.failed)}", style="yellow", markup=False, soft_wrap=True)


def describe_failures(failed: dict[str, str]) -> str:
    """Return why photos failed, in one line for each reason, with the first photo of it."""
    photos: dict[str, list[str]] = {}
    for path, reason in failed.items():
        photos.setdefault(reason, []).append(path)
    lines = []
    for reason, (first, *others) in photos.items():
        beside = f" and {format_count(len(others), 'other')}" if others else ""
        lines.append(f"{first}{beside}: {reason}")
    more = [f"and {len(lines) - FAILURES_SHOWN:,} more"] if len(lines) > FAILURES_SHOWN else []
    return "\n  ".join(["", *lines[:FAILURES_SHOWN], *more]) if len(lines) > 1 else lines[0]
