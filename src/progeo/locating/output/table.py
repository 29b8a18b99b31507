"""Located photos as a table for people."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console

from progeo.locating.estimate import MIN_CONFIDENCE, Estimate, Located
from progeo.locating.output.names import cut_middle, make_printable, tell_apart
from progeo.locating.output.wording import describe_calibration

COLUMNS = {"latitude": 11, "longitude": 12, "radius": 9, "agreement": 11, "probability": 13}
"""Each with its width in characters; the names stand on lines of their own, as the published ones are long."""
LEGEND = "Below each photo: its best matches, with the difference in looks and the distance from the estimate."


def write_table(
    results: Sequence[Located], num_matches: int, file: TextIO | None = None, *, width: int | None = None
) -> None:
    """Print the results, with the first matches of each, to a file or else to stdout.

    Where no ``width`` is given it is the terminal's, and nothing is cut or folded where there is none.
    """
    file = file or sys.stdout
    terminal = Console(file=file, width=width)
    if width is None and terminal.is_terminal:
        width = terminal.width
    if not results:
        return
    shown = {result.path: result.estimate.matches[:num_matches] for result in results}
    photos = tell_apart(shown)
    names = tell_apart(match.path for matches in shown.values() for match in matches)
    calibrated = any(result.estimate.calibrated for result in results)
    local = {"latitude": "x", "longitude": "y"} if results[0].estimate.is_local else {}
    columns = [name for name in COLUMNS if calibrated or name != "probability"]
    lines = ["".join(f"{local.get(name, name):>{COLUMNS[name]}}" for name in columns)]
    for result in results:
        cells = format_estimate(result.estimate)
        lines.append(cut_middle(make_printable(photos[result.path]), width))
        lines.append("".join(f"{cells[name]:>{COLUMNS[name]}}" for name in columns))
        for match in shown[result.path]:
            points = f", {match.agreeing_points} details fit" if (match.strength or 0) >= 1 else ""
            numbers = f"    {match.descriptor_distance:.3f}, {match.distance_metres:.0f} m{points}: "
            lines.append(
                numbers + cut_middle(make_printable(names[match.path]), width and max(width - len(numbers), 1))
            )
    for line in lines:
        terminal.file.write(f"{line}\n")
    for remark in (LEGEND, describe_calibration(result.estimate for result in results)):
        terminal.print(remark, style="italic", soft_wrap=width is None)


def format_estimate(estimate: Estimate) -> dict[str, str]:
    """Return the cells of an estimate."""
    cells = {"latitude": "", "longitude": ""}
    if estimate.known is False:
        is_absent = estimate.presence is not None and estimate.presence < MIN_CONFIDENCE
        cells = dict(zip(cells, ("not in the", "database") if is_absent else ("unknown", "place"), strict=True))
    if estimate.position is not None:
        digits = 2 if estimate.is_local else 6
        cells = {name: f"{value:.{digits}f}" for name, value in zip(cells, estimate.position, strict=True)}
    shares = {"agreement": estimate.agreement, "probability": estimate.probability}
    radius = "" if estimate.radius_metres is None else f"{estimate.radius_metres:.0f} m"
    shown = {name: "" if share is None else f"{100 * share:.0f} %" for name, share in shares.items()}
    return cells | shown | {"radius": radius}
