"""``progeo locate``."""

from __future__ import annotations

from dataclasses import dataclass

from jsonargparse.typing import PositiveFloat, PositiveInt

from progeo.cli.options import REQUIRED, EstimateOptions, option


@dataclass(kw_only=True)
class LocateOptions(EstimateOptions):
    """Locating"""

    photos: list[str] = option(REQUIRED, "photos, or folders of them", positional=True)
    near: str | None = option(None, "LAT,LON: look only around this place, in degrees; needs --within")
    within: PositiveFloat | None = option(None, "metres around --near")
    heading: float | None = option(
        None, "degrees clockwise from north in which the camera looked; matches may differ by 45 degrees"
    )
    after: str | None = option(None, "compare only with photos taken on this day or later, as 2024-05-31")
    before: str | None = option(None, "compare only with photos taken on this day or earlier, as 2024-05-31")
    exact: bool = option(False, "compare with every photo, even where there is an approximate index")
    num_matches: PositiveInt = option(3, "matches to give for each photo")
    sequence: bool = option(
        False, "the photos were taken one after the other along a path, in the order given; folders are sorted by name"
    )
    max_speed: PositiveFloat = option(
        15,
        "for --sequence: metres per second at most, and 50 metres more at each step; photos that do not say their time "
        "count as one second apart",
    )
    json: bool = option(False, "print the result as JSON, and nothing else, on stdout")
    geojson: bool = option(False, "the same as GeoJSON, which maps and geographic information systems read")
    csv: bool = option(False, "the same as CSV, one line per photo")
    map: str | None = option(None, "write a map of the result: one HTML file that opens anywhere, offline")


def run(options: LocateOptions) -> None:
    """Run ``progeo locate``."""
    from progeo.places.locate import run_locate

    run_locate(options)
