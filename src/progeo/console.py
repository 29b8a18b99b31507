"""The terminal: a console for people on stderr, so that stdout stays free for results that programs read; the log."""

from __future__ import annotations

import functools
import logging
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

console = Console(stderr=True, highlight=False)
logger = logging.getLogger("progeo")

SECONDS_PER_LINE = 10.0
"""Between the lines that stand in for progress bars."""


def log_to(folder: Path) -> None:
    """Send the log to the terminal and to ``log.txt`` in the folder, from now on and nowhere else."""
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    warn_once.cache_clear()
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


@functools.cache
def warn_once(line: str) -> None:
    """Log a warning, unless this process has written the same into the present log before."""
    logger.warning(line)


def format_count(number: int, noun: str) -> str:
    """Return how many there are of something: ``1 photo``, ``1,200 photos``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def format_rounded(number: float) -> str:
    """Return a number to two digits, never with an exponent: ``0.56``, ``33``, ``1,200``."""
    return f"{float(f'{number:.2g}'):,.12g}"


class ProgressLines(Progress):
    """Where there is no terminal to draw bars on: a line every few seconds, and one at the end."""

    def __init__(self, *columns: str) -> None:
        """Take further text columns, as for ``progress_bar``."""
        super().__init__(disable=True, auto_refresh=False)
        self._texts = columns
        self._said = time.monotonic()

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Count, as ``Progress`` does."""
        super().advance(task_id, advance)
        self._say_sometimes(task_id)

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Change a task, as ``Progress`` does."""
        super().update(task_id, **changes)
        self._say_sometimes(task_id)

    def stop(self) -> None:
        """Say how far each task has come."""
        for task in self.tasks:
            if task.completed:
                self._say(task)

    def _say_sometimes(self, task_id: TaskID) -> None:
        with self._lock:
            if time.monotonic() < self._said + SECONDS_PER_LINE:
                return
            self._said = time.monotonic()
            task = self._tasks.get(task_id)
        if task is not None and not task.finished:
            self._say(task)

    def _say(self, task: Task) -> None:
        of = "" if task.total is None else f" of {task.total:,.0f}"
        left = (
            "" if task.finished or task.time_remaining is None else f", {timedelta(seconds=task.time_remaining)} left"
        )
        texts = [f"{task.description}: {task.completed:,.0f}{of}", *(text.format(task=task) for text in self._texts)]
        line = f"{', '.join(texts)}, {timedelta(seconds=int(task.elapsed or 0))}{left}"
        console.print(line, markup=False, soft_wrap=True)


def progress_bar(*columns: str, disable: bool = False) -> Progress:
    """Return a progress bar with counts, elapsed and remaining time; ``columns`` are further text columns.

    Where the output is no terminal, it says every few seconds how far things are. With ``disable`` it shows nothing.

    Use it as a context manager. Fields named in a column (``"{task.fields[loss]}"``) must be given to ``add_task``.
    """
    if not (disable or console.is_terminal):
        return ProgressLines(*columns)
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
