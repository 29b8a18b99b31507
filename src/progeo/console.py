"""The terminal: one console for people, on stderr, so that stdout stays free for results that programs read."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False)


def progress_bar(*columns: str, disable: bool = False) -> Progress:
    """Return a progress bar with counts, elapsed and remaining time; ``columns`` are further text columns.

    With ``disable`` it shows nothing.

    Use it as a context manager. Fields named in a column (``"{task.fields[loss]}"``) must be given to ``add_task``.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        *(TextColumn(column) for column in columns),
        TimeElapsedColumn(),
        TextColumn("<"),
        TimeRemainingColumn(),
        console=console,
        disable=disable,
    )
