"""Which photos are gone, and whether that can be believed: of an unmounted disk all photos look gone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from progeo.console import format_count
from progeo.errors import ProgeoError


def find_gone(paths: Iterable[str], folders: Sequence[str] = ()) -> list[str]:
    """Return the paths of photos whose file is gone.

    A photo is believed to be gone where its folder is there and holds something, or where it lay below one of
    ``folders`` on a disk from which other photos below it are still there.

    Raises:
        ProgeoError: there are others, or no photo would be left.
    """
    gone: list[str] = []
    total = 0
    disks: set[tuple[str, int]] = set()
    for path in paths:
        total += 1
        if "://" in path:  # of an object store, which is not asked
            continue
        try:
            disk = os.stat(path).st_dev  # noqa: PTH116 (there may be millions)
        except (FileNotFoundError, NotADirectoryError):
            gone.append(path)
        except OSError:
            pass  # there, but not to be read: of a server that does not answer, for example
        else:
            disks.update((folder, disk) for folder in folders if is_below(path, folder))

    @cache
    def is_believed(parent: Path) -> bool:
        there = next(folder for folder in (parent, *parent.parents) if folder.exists())
        if any(is_below(str(parent), folder) and (folder, there.stat().st_dev) in disks for folder in folders):
            return True
        return there == parent and parent.is_dir() and any(parent.iterdir())

    doubtful = [path for path in gone if len(gone) == total or not is_believed(Path(path).parent)]
    if doubtful:
        raise ProgeoError(
            f"{len(doubtful):,} of {format_count(total, 'photo')} are not there any more, first {doubtful[0]}, and "
            "nothing is left in their folders: an unmounted disk looks the same. So no photo was removed. If they are "
            "really deleted, index a folder above that still holds photos and `prune` at the same time; or remove them "
            "by their paths (PlaceDatabase.remove)."
        )
    return gone


def is_below(path: str, folder: str) -> bool:
    """Whether a path is a folder or lies below it; both are absolute."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
