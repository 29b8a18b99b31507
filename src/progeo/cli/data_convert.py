"""``progeo data convert``."""

from __future__ import annotations

from dataclasses import dataclass

from progeo.cli.options import REQUIRED, HeadingOptions, option


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
    from progeo.data.tools.convert import run_convert

    run_convert(options)
