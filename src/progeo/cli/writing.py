"""What ``progeo locate`` writes beside its answer: positions into photos, and files for other programs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from progeo.cli.options import EstimateOptions, option
from progeo.cli.spelling import say
from progeo.console import format_count
from progeo.errors import ProgeoError

if TYPE_CHECKING:
    from progeo.locating.estimate import Located
    from progeo.locating.writing import Report, Writing
    from progeo.places.database import PlaceDatabase

ON_EARTH = ("write", "gpx", "kml", "exiftool_csv", "odm_geo")
"""Options that take only places on the earth."""


@dataclass(kw_only=True)
class WritingOptions(EstimateOptions):
    """Positions for other programs"""

    write: str | None = option(
        None,
        "write positions of known places back: sidecar into XMP files beside the photos, exif into the photos "
        "themselves, whose image stays the same to the byte. Needs a calibrated database; try --min_confidence 0.8 and "
        "--dry_run first",
        choices=("sidecar", "exif"),
    )
    sidecar_name: str = option(
        "full",
        "what an XMP file is called: full is photo.jpg.xmp (darktable, digiKam, immich, PhotoPrism), stem is photo.xmp",
        choices=("full", "stem"),
    )
    even_uncalibrated: bool = option(
        False,
        "for --write: also by a database that is not calibrated; nobody knows how sure its positions are, and they "
        "have no radius",
    )
    overwrite: bool = option(False, "for --write: also where a photo has a position already")
    dry_run: bool = option(False, "for --write: only show what would be written, and why not")
    only_missing: bool = option(False, "leave out photos that have a position; one that progeo estimated is none")
    gpx: str | None = option(None, "write a GPX file: way points, and a track of the photos that say their time")
    kml: str | None = option(None, "write a KML file with circles, or with pictures in it as .kmz")
    exiftool_csv: str | None = option(
        None, "write a table that exiftool -csv=FILE writes into photos of any format, HEIC and RAW too"
    )
    odm_geo: str | None = option(None, "write geo.txt for OpenDroneMap")


def check_writing(options: WritingOptions, database: PlaceDatabase) -> None:
    """Raise an error, before any work, where positions could not be written."""
    if database.local_frame:
        from progeo.locating.output.marked import refuse_local_frame

        for name in ON_EARTH:
            if getattr(options, name):
                raise refuse_local_frame(name)
    if options.write is None:
        if options.dry_run or options.overwrite or options.even_uncalibrated:
            raise ProgeoError(
                "`dry_run`, `overwrite` and `even_uncalibrated` are about `write`: please give `write` sidecar or exif "
                "too."
            )
        return
    if database.calibration is None and not options.even_uncalibrated:
        raise ProgeoError(
            "`write` puts only positions into photos of which is known how sure they are, and this database is not "
            "calibrated: progeo index does that. To write all the same, give `even_uncalibrated`."
        )


def leave_out_located(paths: list[str]) -> list[str]:
    """Return the photos without a position of their own, in their names or in what they say."""
    from progeo.places.photos import read_photo_set

    located = set(read_photo_set(paths).table["path"])
    missing = [path for path in paths if path not in located]
    if len(missing) < len(paths):
        say(f"Left out: {format_count(len(paths) - len(missing), 'photo')} of {len(paths):,} with a position")
    return missing


def write_files(results: list[Located], options: WritingOptions) -> None:
    """Write the files for other programs that are asked for."""
    from progeo.locating.output.exiftool_csv import write_exiftool_csv
    from progeo.locating.output.gpx import write_gpx
    from progeo.locating.output.kml import write_kml
    from progeo.locating.output.odm import write_odm_geo

    writers = {"gpx": write_gpx, "kml": write_kml, "exiftool_csv": write_exiftool_csv, "odm_geo": write_odm_geo}
    for name, write in writers.items():
        path = getattr(options, name)
        if path is not None:
            count = write(results, path)
            left = len(results) - count
            unknown = f", without {format_count(left, 'photo')} of unknown places" if left else ""
            say(f"{path}: {format_count(count, 'photo')}{unknown}")


def write_back(results: list[Located], options: WritingOptions) -> None:
    """Write positions into photos or beside them, or show what would be written.

    Raises:
        ProgeoError: some could not be written; the others are.
    """
    if options.write is None:
        return
    from progeo.files import create_run_folder
    from progeo.locating.writing import LOG, plan_writing, write_positions

    plans = plan_writing(
        results,
        "exif" if options.write == "exif" else "sidecar",
        sidecar_name=options.sidecar_name,
        overwrite=options.overwrite,
        even_unknown=options.even_unknown,
        even_uncalibrated=options.even_uncalibrated,
    )
    if options.dry_run:
        show_plans(plans)
    if options.dry_run or all(plan.left for plan in plans):
        describe_left(plans)
        say("Nothing was written")
        return
    log = create_run_folder("written") / LOG
    report = write_positions(plans, log)
    describe_left(plans)
    say(f"Positions written: {format_count(len(report.done), 'file')}. To take them back: progeo undo {log}")
    raise_failures(report, "written")


def show_plans(plans: list[Writing]) -> None:
    """Print a table of what would be done with each photo on the terminal."""
    from rich.table import Table
    from rich.text import Text

    from progeo.console import console

    table = Table("photo", "latitude", "longitude", "radius", "sure", "written to")
    for plan in plans:
        if plan.left is not None:
            cells = ["", "", "", "", f"left, {plan.left}"]
        else:
            latitude, longitude, radius = plan.position
            probability = plan.estimate.probability
            cells = [
                *(f"{latitude:.6f}", f"{longitude:.6f}", "" if radius is None else f"{radius:.0f} m"),
                "" if probability is None else f"{100 * probability:.0f} %",
                f"{plan.file}{f' ({plan.remark})' if plan.remark else ''}",
            ]
        # As text, so that no name is read as markup; folded, so that nothing is cut.
        table.add_row(*(Text(cell, overflow="fold") for cell in (str(plan.photo), *cells)))
    console.print(table)


def describe_left(plans: list[Writing]) -> None:
    """Say how many photos are left, by reason, and how many get another file than asked for."""
    for reason, count in Counter(plan.left for plan in plans if plan.left).most_common():
        say(f"Left: {format_count(count, 'photo')}, {reason}")
    for remark, count in Counter(plan.remark for plan in plans if plan.remark and not plan.left).most_common():
        say(f"An XMP file instead: {format_count(count, 'photo')}, {remark}")


def raise_failures(report: Report, verb: str) -> None:
    """Raise an error that names the files that have failed, if any have."""
    if report.failed:
        shown = [f"{Path(file)}: {reason}" for file, reason in list(report.failed.items())[:10]]
        raise ProgeoError("\n  ".join([f"{format_count(len(report.failed), 'file')} could not be {verb}:", *shown]))
