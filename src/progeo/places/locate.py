"""``progeo locate``: where photos were taken."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from progeo.cli.locate import LocateOptions
from progeo.data.exif import read_exif
from progeo.data.file_names import FILE_NAME_FIELDS
from progeo.data.timestamps import normalise_timestamps, parse_timestamps
from progeo.errors import ProgeoError
from progeo.locating.estimate import Estimate, Located
from progeo.locating.output.output import print_results
from progeo.locating.prior import Prior
from progeo.locating.sequence import measure_intervals
from progeo.pixels.formats import IMAGE_EXTENSIONS
from progeo.places.database import PlaceDatabase
from progeo.places.describing import Descriptors, describing_settings

FAILURES_SHOWN = 10


def run_locate(options: LocateOptions) -> list[Located]:
    """Run ``progeo locate``: estimate, print in the form asked for, and return the same.

    Photos that cannot be read are named in the error at the end; the others are located all the same.

    Raises:
        ProgeoError: there is no photo or no database, an option is wrong, or a photo could not be read.
    """
    if sum((options.json, options.geojson, options.csv)) > 1:
        raise ProgeoError("`json`, `geojson` and `csv` all go to stdout: please choose one of them.")
    prior = read_prior(options)
    paths = list_photos(options.photos)
    with PlaceDatabase.open(options.database, **describing_settings(options)) as database:
        described, failures = database.describe_photos(paths)
        results = []
        if described:
            estimates = estimate(database, described, prior, options)
            results = [Located(path, estimate) for path, estimate in zip(described, estimates, strict=True)]
            print_results(results, database, options)
    if failures:
        raise ProgeoError(join_failures(failures, len(paths)))
    return results


def estimate(
    database: PlaceDatabase, described: dict[str, Descriptors], prior: Prior | None, options: LocateOptions
) -> list[Estimate]:
    """Return the estimates of photos given by their descriptors, each for itself or as a sequence."""
    descriptors = np.stack(list(described.values()))
    settings: dict[str, Any] = {
        "prior": prior,
        "min_confidence": options.min_confidence,
        "exact": options.exact,
    }
    if not options.sequence:
        return database.locate_descriptors(descriptors, **settings)
    intervals = measure_intervals(read_times(list(described)))
    return database.locate_sequence(descriptors, intervals, options.max_speed, **settings)


def list_photos(places: list[str]) -> list[str]:
    """Return the photos that are named, and those below the folders that are named, sorted by their names.

    Raises:
        ProgeoError: nothing is named, or a folder holds no photo.
    """
    if not places:
        raise ProgeoError("Please give the photos: progeo locate PHOTO `database` DATABASE.")
    paths = []
    for place in places:
        if not Path(place).is_dir():
            paths.append(place)
            continue
        found = sorted(str(path) for path in Path(place).rglob("*") if path.suffix.lower() in IMAGE_EXTENSIONS)
        if not found:
            raise ProgeoError(f"There are no images ({', '.join(IMAGE_EXTENSIONS)}) in {place}.")
        paths += found
    return paths


def read_times(paths: list[str]) -> list[datetime | None]:
    """Return when each photo was taken, to the second, as its file name or else its EXIF data says."""
    number = 1 + list(FILE_NAME_FIELDS).index("timestamp")
    fields = pl.Series("timestamp", [Path(path).name for path in paths]).str.split("@")
    in_names = fields.list.get(number, null_on_oob=True).replace("", None)
    texts = in_names.fill_null(read_exif(pl.Series("path", paths))["timestamp"])
    moments = parse_timestamps(normalise_timestamps(pl.col("timestamp")))
    return texts.to_frame().select(moments).to_series().to_list()


def read_prior(options: LocateOptions) -> Prior | None:
    """Return what the options say is known of the photos, or None.

    Raises:
        ProgeoError: a position or a date is none, or what belongs together is not given together.
    """
    prior = Prior(
        near=None if options.near is None else read_position(options.near),
        within=options.within,
        heading=options.heading,
        after=read_date("after", options.after),
        before=read_date("before", options.before),
    )
    return None if prior == Prior() else prior


def read_position(text: str) -> tuple[float, float]:
    """Return latitude and longitude out of ``LAT,LON``."""
    try:
        latitude, longitude = map(float, text.split(","))
    except ValueError as error:
        raise ProgeoError(
            f"`near` {text}: please give latitude and longitude in degrees with a comma between, as 45.4432,9.2179."
        ) from error
    return latitude, longitude


def read_date(option: str, text: str | None) -> date | None:
    """Return a date out of ``YYYY-MM-DD``."""
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError as error:
        raise ProgeoError(
            f"{option} {text}: please give a date as year, month and day, for example 2024-05-31."
        ) from error


def join_failures(failures: dict[str, str], count: int) -> str:
    """Return one message for the photos that could not be read."""
    if count == 1:
        return next(iter(failures.values()))
    shown = list(failures.values())[:FAILURES_SHOWN]
    return "\n  ".join([f"{len(failures)} of {count} photos could not be read:", *shown])
