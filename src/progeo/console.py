"""The terminal: a console for people on stderr, so that stdout stays free for results that programs read; the log."""

from __future__ import annotations

import logging
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False)
logger = logging.getLogger("progeo")


def log_to(folder: Path) -> None:
    """Send the log to the terminal and to ``log.txt`` in the folder, from now on and nowhere else."""
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if console.is_terminal:
        logger.addHandler(RichHandler(console=console, show_path=False, show_level=False, log_time_format="%H:%M:%S"))
    else:
        handler = logging.StreamHandler(console.file)
        handler.setFormatter(logging.Formatter("[%(asctime)s] %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)
    file_handler = logging.FileHandler(folder / "log.txt", encoding="utf-8")
    file_handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(file_handler)


def format_count(number: int, noun: str) -> str:
    """Return how many there are of something: ``1 photo``, ``1,200 photos``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


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
