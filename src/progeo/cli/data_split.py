"""``progeo data split``: one set of photos as train, val and test, as a manifest or as a folder of links."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, NonNegativeInt, PositiveFloat

from progeo.cli.options import REQUIRED, HeadingOptions, option
from progeo.cli.spelling import say


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
    import polars as pl

    from progeo.data.table import read_photos
    from progeo.data.tools.convert import is_manifest, write_photos
    from progeo.data.tools.split import describe_split, split_photos

    table = read_photos(
        options.source, options.cache_folder, columns=options.columns, heading_from=options.heading_from
    )
    divided, notes = split_photos(
        table,
        options.shares,
        buffer=options.buffer,
        cell=options.cell,
        query_share=options.query_share,
        positive_dist_threshold=options.positive_dist_threshold,
        draw_roles=options.draw_roles,
        seed=options.seed,
    )
    out = Path(options.out)
    write_photos(divided if is_manifest(out) else divided.filter(pl.col("split").is_not_null()), out)
    for line in [*describe_split(divided, options.buffer), *notes, f"The parts are in {out}"]:
        say(line, vars(options))
