"""``progeo data convert``: any set that can be read in another form, SF-XL file names or a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from progeo.cli.options import REQUIRED, HeadingOptions, option
from progeo.cli.spelling import say
from progeo.console import format_count


@dataclass(kw_only=True)
class ConvertOptions(HeadingOptions):
    """Converting"""

    source: str = option(REQUIRED, "a folder of photos, or a manifest", positional=True)
    out: str = option(
        REQUIRED,
        "where to: a manifest (.csv, .parquet or .geojson), or a new folder for photos under SF-XL file names",
        positional=True,
    )
    copy: bool = option(False, "copy the photos to the folder instead of linking to them")
    utm_zone: str | None = option(
        None,
        "zone and latitude band, such as 44Q, of UTM coordinates that come without: they get latitude and longitude",
    )
    cache_folder: str = option("cache", "where listings of image folders are kept between runs")


def run(options: ConvertOptions) -> None:
    """Run ``progeo data convert``."""
    from progeo.data.geodesy import parse_zone
    from progeo.data.positions import assume_zone
    from progeo.data.table import read_photos
    from progeo.data.tools.convert import is_manifest, write_photos

    table = read_photos(
        options.source,
        options.cache_folder,
        columns=options.columns,
        heading_from=options.heading_from,
        one_plane=None if is_manifest(Path(options.out)) else True,
    )
    if options.utm_zone:
        table = assume_zone(table, parse_zone(options.utm_zone))
    write_photos(table, Path(options.out), copy=options.copy)
    say(f"{format_count(len(table), 'photo')} written to {options.out}", vars(options))
