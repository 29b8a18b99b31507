"""``progeo data imagery``: open street-level photos of an area, as reference photos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse.typing import PositiveFloat, PositiveInt

from progeo.cli.options import REQUIRED, option
from progeo.cli.places import read_position
from progeo.cli.spelling import say
from progeo.console import format_count
from progeo.errors import ProgeoError

if TYPE_CHECKING:
    from progeo.imagery.area import Area
    from progeo.imagery.download import Report

PAGE = "imagery.html"


@dataclass(kw_only=True)
class PictureOptions:
    """Open street-level pictures"""

    within: PositiveFloat | None = option(None, "metres around the place")
    source: str = option(
        "panoramax",
        "the service: panoramax and amsterdam need nothing, mapillary a free token in the environment variable "
        "MAPILLARY_TOKEN; commons has landmarks more than streets",
        choices=("panoramax", "mapillary", "amsterdam", "commons"),
    )
    address: str | None = option(
        None, "of another instance of the service, for example https://panoramax.ign.fr/api for panoramax"
    )
    max_photos: PositiveInt | None = option(
        None, "photos at most, spread over the area; a 360 degree picture makes as many as --views"
    )
    views: PositiveInt = option(12, "perspective views that a 360 degree picture is cut into, all around")
    field_of_view: PositiveFloat = option(60, "degrees across each view; 90 with 8 views suits phones held wide")
    view_size: PositiveInt = option(512, "pixels of a side of each view")
    contact: str | None = option(
        None, "e-mail address or page by which the service can reach you; Wikimedia asks for one"
    )


@dataclass(kw_only=True)
class ImageryOptions(PictureOptions):
    """Imagery"""

    out: str = option(REQUIRED, "folder for the photos and manifest.csv; a stopped run goes on", positional=True)
    near: str | None = option(None, "LAT,LON in degrees: pictures around this place; needs --within")
    bbox: str | None = option(None, "WEST,SOUTH,EAST,NORTH in degrees: pictures in this box")
    polygon: str | None = option(None, "GeoJSON file: pictures in its polygons")
    dry_run: bool = option(False, f"only search: print counts, size and licences, and draw a map into OUT/{PAGE}")


def run(options: ImageryOptions) -> None:
    """Run ``progeo data imagery``."""
    from progeo.imagery.area import make_area

    area = make_area(
        None if options.near is None else read_position(options.near),
        options.within,
        None if options.bbox is None else read_box(options.bbox),
        options.polygon,
    )
    download(options, area, options.out, options.dry_run)


def download(options: PictureOptions, area: Area, out: str, dry_run: bool = False) -> Report:
    """Download the pictures of an area as the options say, and say what has come of it.

    Raises:
        ProgeoError: nothing could be downloaded, or the service has stopped answering.
    """
    from progeo.console import progress_bar
    from progeo.imagery.download import Views, describe_report, download_imagery
    from progeo.imagery.page import write_imagery_page
    from progeo.imagery.sources import make_source

    source = make_source(options.source, options.address)
    with progress_bar() as bar:
        task = bar.add_task("Searching", total=None)
        report = download_imagery(
            area,
            out,
            source,
            views=Views(options.views, options.field_of_view, options.view_size),
            max_photos=options.max_photos,
            dry_run=dry_run,
            contact=options.contact,
            say=lambda text: say(text, vars(options), style="yellow"),
            tell=lambda text, done, total: bar.update(task, description=text, completed=done, total=total),
        )
    say(describe_report(report), vars(options))
    write_imagery_page(report, f"{source.title}: {area.text}", Path(out) / PAGE)
    if dry_run:
        say(f"Nothing was downloaded. The map is in {Path(out) / PAGE}")
        return report
    failed = sum(report.failed.values())
    say(
        f"{out}: {format_count(report.downloaded, 'picture')} downloaded, {report.kept:,} kept, {failed:,} failed; it "
        f"holds {format_count(report.photos, 'photo')} now. Authors and licences are in manifest.csv"
    )
    if report.failed:
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in report.failed.most_common())
        say(f"Failed: {reasons}. The same command tries these again", style="yellow")
    if report.stopped:
        raise ProgeoError(report.stopped)
    if not report.photos:
        raise ProgeoError(f"Not one picture could be downloaded into {out}.")
    return report


def read_box(text: str) -> tuple[float, float, float, float]:
    """Return a box out of ``WEST,SOUTH,EAST,NORTH``."""
    try:
        west, south, east, north = map(float, text.split(","))
    except ValueError as error:
        raise ProgeoError(
            f"`bbox` {text}: please give west,south,east,north in degrees with commas between, as "
            "9.21,45.44,9.22,45.45."
        ) from error
    return west, south, east, north
