"""``progeo calibrate``."""

from __future__ import annotations

from dataclasses import dataclass

from progeo.cli.options import REQUIRED, HeadingOptions, PlaceOptions, option


@dataclass(kw_only=True)
class CalibrateOptions(HeadingOptions, PlaceOptions):
    """Calibration"""

    queries: str = option(
        REQUIRED,
        "photos with positions that are not in the database, a folder or a manifest; some may be of places outside it",
    )
    cache_folder: str = option("cache", "where listings of image folders are kept between runs")


def run(options: CalibrateOptions) -> None:
    """Run ``progeo calibrate``."""
    from progeo.places.calibrate import run_calibration

    run_calibration(options)
