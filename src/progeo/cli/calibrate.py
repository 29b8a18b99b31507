"""``progeo calibrate``: learning from labelled queries how sure the estimates of a database are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from progeo.cli.options import REQUIRED, HeadingOptions, PlaceOptions, RerankOptions, option
from progeo.cli.places import describe_engine, open_database
from progeo.cli.spelling import say

SOURCES = {"queries": "from photos of known position", "database": "by itself", "default": "the default one"}


@dataclass(kw_only=True)
class CalibrateOptions(HeadingOptions, RerankOptions, PlaceOptions):
    """Calibration"""

    queries: str = option(
        REQUIRED,
        "photos with positions that are not in the database, a folder or a manifest; some may be of places outside it",
    )
    cache_folder: str = option("cache", "where listings of image folders are kept between runs")


def run(options: CalibrateOptions) -> None:
    """Learn a calibration, keep it with the database unless the one before is better, and say how good both are."""
    from progeo.locating.evidence import RIGHT_WITHIN
    from progeo.places.calibrating import calibrate
    from progeo.places.photos import read_photo_set

    with open_database(options) as database:
        queries = read_photo_set(
            options.queries,
            role="queries",
            cache_folder=options.cache_folder,
            columns=options.columns,
            heading_from=options.heading_from,
            local_frame=database.local_frame,
        )
        for remark in queries.remarks:
            say(remark)
        report = calibrate(
            database,
            queries,
            partial(say, style="yellow"),
            options.rerank,
            candidates=options.candidates,
            cache_folder=options.cache_folder,
        )
        describe_engine(database)  # loads the model, which a refusal needs not
    say(
        f"Learned from {report.calibration.queries} queries, of which {report.right} were located within "
        f"{RIGHT_WITHIN:g} m. On queries not learned from, stated and true probability differ by "
        f"{100 * report.error:.1f} percentage points on average; the agreement of the matches is off by "
        f"{100 * report.error_of_agreement:.1f}."
    )
    before = f"the calibration before, {SOURCES[report.source_before]}, differs by {100 * report.error_before:.1f}"
    if report.kept:
        say(f"Kept: {before}.")
    else:
        say(f"Not kept, as it measures worse: {before} on these queries, and stays.", style="yellow")
