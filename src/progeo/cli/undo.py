"""``progeo undo``: takes back the positions that ``progeo locate`` has written into photos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from progeo.cli.options import REQUIRED, option
from progeo.cli.spelling import say
from progeo.cli.writing import raise_failures
from progeo.console import format_count


@dataclass(kw_only=True)
class UndoOptions:
    """Undo"""

    log: str = option(REQUIRED, "the log that progeo locate named when it wrote, or its folder", positional=True)


def run(options: UndoOptions) -> None:
    """Put files back as they were; those that have been changed since then are left, and named in the error."""
    from progeo.locating.writing import undo

    report = undo(Path(options.log))
    say(f"Put back as they were: {format_count(len(report.done), 'file')}")
    raise_failures(report, "put back")
