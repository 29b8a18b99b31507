"""Located photos as a table for people."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from progeo.locating.estimate import Located, Match

WIDTH_OF_FILES = 10_000
UNCALIBRATED = (
    "This database is not calibrated: the agreement is the matches' share of the vote, and how often such estimates "
    "are right is not known. progeo calibrate learns it."
)


def write_table(
    results: Sequence[Located], num_matches: int, file: TextIO | None = None, *, width: int | None = None
) -> None:
    """Print the results, with the first matches of each, to a file or else to stdout.

    Where no ``width`` is given it is the terminal's, and nothing is folded where there is none.
    """
    calibrated = any(result.estimate.calibrated for result in results)
    table = Table(caption=None if calibrated or not results else UNCALIBRATED)
    table.add_column("photo", overflow="fold", min_width=20)
    for name in ("latitude", "longitude", "radius", "agreement", *(["right within 25 m"] if calibrated else [])):
        table.add_column(name, justify="right", no_wrap=name != "right within 25 m")
    table.add_column("best matches: difference in looks, distance from the estimate", overflow="fold", min_width=20)
    for result in results:
        estimate = result.estimate
        position = [f"{estimate.latitude:.6f}", f"{estimate.longitude:.6f}", f"{estimate.radius_metres:.0f} m"]
        table.add_row(
            Text(Path(result.path).name),
            *(["unknown place", "", ""] if estimate.known is False else position),
            f"{100 * estimate.agreement:.0f} %",
            *([] if estimate.probability is None else [f"{100 * estimate.probability:.0f} %"]),
            Text("\n".join(describe_match(match) for match in estimate.matches[:num_matches])),
        )
    terminal = Console(file=file or sys.stdout, width=width)
    if width is None and not terminal.is_terminal:
        terminal.width = WIDTH_OF_FILES
    terminal.print(table)


def describe_match(match: Match) -> str:
    """Return a match in a few words."""
    return f"{match.descriptor_distance:.3f}, {match.distance_metres:.0f} m: {Path(match.path).name}"
