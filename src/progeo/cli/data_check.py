"""``progeo data check``."""

from __future__ import annotations

from dataclasses import dataclass

from jsonargparse.typing import PositiveFloat, PositiveInt

from progeo.cli.options import REQUIRED, HeadingOptions, option


@dataclass(kw_only=True)
class CheckOptions(HeadingOptions):
    """Checking"""

    source: str = option(REQUIRED, "a folder of photos, or a manifest", positional=True)
    page: str = option("check.html", "where to write the page: one HTML file that opens anywhere, offline")
    json: bool = option(False, "print the result as one JSON object, and nothing else, on stdout")
    positive_dist_threshold: PositiveFloat = option(25, "metres within which a database photo is right for a query")
    num_workers: PositiveInt | None = option(None, "threads that read images; without it one per core, at most 8")


def run(options: CheckOptions) -> None:
    """Run ``progeo data check``."""
    from progeo.checking.check import run_check

    run_check(options)
