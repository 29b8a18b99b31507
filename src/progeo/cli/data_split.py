"""``progeo data split``."""

from __future__ import annotations

from dataclasses import dataclass

from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, NonNegativeInt, PositiveFloat

from progeo.cli.options import REQUIRED, HeadingOptions, option


@dataclass(kw_only=True)
class SplitOptions(HeadingOptions):
    """Splitting"""

    source: str = option(REQUIRED, "a folder of photos, or a manifest", positional=True)
    out: str = option(
        REQUIRED,
        "where to: a manifest (.csv, .parquet or .geojson), or a new folder for train, val and test with links to the "
        "photos under SF-XL file names",
        positional=True,
    )
    shares: list[PositiveFloat] | None = option(
        None, "shares of train, val and test, in numbers of photos; without it 0.8 0.1 0.1"
    )
    buffer: NonNegativeFloat = option(50, "metres between the parts; photos nearer than that belong to none")
    cell: PositiveFloat = option(50, "side in metres of the cells that are never cut")
    query_share: ClosedUnitInterval = option(0.2, "share of the photos of val and test that become queries")
    positive_dist_threshold: PositiveFloat = option(25, "metres within which every query has a database photo")
    draw_roles: bool = option(False, "draw database and queries anew, even where the photos say which are which")
    seed: NonNegativeInt = option(0, "another seed, other places for val and test")
    cache_folder: str = option("cache", "where listings of image folders are kept between runs")


def run(options: SplitOptions) -> None:
    """Run ``progeo data split``."""
    from progeo.data.tools.split import run_split

    run_split(options)
