"""Published data sets as their publishers distribute them: recognised by what is in the folder, read as image tables.

Sets with SF-XL file names (SF-XL, SVOX, and whatever VPR-datasets-downloader has reformatted) need nothing of this, and
the structures of Pittsburgh and Tokyo 24/7 are read in place of a manifest (``structures``). docs/datasets.md says what
is known of each set.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from progeo.data.datasets import amstertime, eynsham, gsv_cities, mapillary_sls, nordland, tokyo_queries
from progeo.data.faults import Faults


@dataclass(frozen=True)
class Layout:
    """How one data set lies on the disk."""

    name: str
    find: Callable[[Path], list[Path]]
    """Gives the places in a folder that describe its images: none where the folder is of another kind."""
    read: Callable[[pl.Series, Path, Faults | None], pl.DataFrame]
    """Makes the table of positions from the relative paths of the folder's images, and the folder. The list, if there
    is one, gets the images that cannot be used, which are an error otherwise."""


LAYOUTS = tuple(
    Layout(module.NAME, module.find, module.read)
    for module in (gsv_cities, mapillary_sls, nordland, amstertime, eynsham, tokyo_queries)
)


def find_layout(folder: Path) -> Layout | None:
    """Return the layout of a folder, or None where it is no data set that is known."""
    with suppress(OSError):  # a folder that cannot be read is an error of those who list it
        return next((layout for layout in LAYOUTS if folder.is_dir() and layout.find(folder)), None)
    return None
