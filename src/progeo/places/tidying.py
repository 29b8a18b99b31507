"""Keeping the folder of a place database small: joining small files, and deleting what no reader needs any more."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from progeo.places import versions

READERS_FINISH_WITHIN = timedelta(hours=1)
"""Versions of a table that are older than this are deleted."""
READERS_HURRY_WITHIN = timedelta(seconds=10)
"""The same where a table would otherwise take several times the room of what it holds."""
FEWEST_FILES = 32
MOST_FILES = 1024
SMALL_FILE = 512
"""Rows. Files of more come from large additions, and are joined at their end."""
BYTES_PER_FILE = 2400
"""Four times what each version of a table says of each of its files: the more that is, the sooner files are joined."""


def keep_small(table: Any) -> None:
    """Tidy up after an addition where many small ones have come before it."""
    stats = table.stats()
    files = stats["fragment_stats"]
    if files["lengths"]["p50"] < SMALL_FILE and files["num_fragments"] > _count_bearable(stats["total_bytes"]):
        tidy(table)


def has_many_files(table: Any) -> bool:
    """Whether joining the files of a table would make reading it faster."""
    return bool(table.stats()["fragment_stats"]["num_fragments"] > FEWEST_FILES)


def tidy(table: Any) -> None:
    """Join small files, bring the indices of a table up to date, and delete its old versions."""
    optimize(table, READERS_FINISH_WITHIN)
    content, size = table.stats()["total_bytes"], measure_folder(table)
    if size > 2 * content:
        optimize(table, READERS_HURRY_WITHIN)


def optimize(table: Any, age: timedelta) -> None:
    """Do the same, and delete versions older than ``age``, but for those that a tag keeps and all later ones."""
    with leave_to_others():
        table.optimize(cleanup_older_than=versions.choose_age(table, age))


def measure_folder(table: Any) -> int:
    """Return the bytes of all versions of a table; 0 in an object store, where counting them costs money."""
    if "://" in table.uri:
        return 0
    return sum(path.stat().st_size for path in Path(table.uri).rglob("*") if path.is_file())


@contextmanager
def leave_to_others() -> Iterator[None]:
    """Give up where another run has changed the table meanwhile: it will do the same, or the next run will."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        if "commit conflict" not in str(error):
            raise


def _count_bearable(content: int) -> int:
    """Return how many files a table may have before joining them, which writes its content once, saves room."""
    return min(max(FEWEST_FILES, math.isqrt(content // BYTES_PER_FILE)), MOST_FILES)
