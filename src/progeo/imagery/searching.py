"""What a source offers in an area, whatever its limits on one question."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from progeo.imagery.area import METRES_PER_DEGREE, Area
from progeo.imagery.client import Client, TooMuchError
from progeo.imagery.picture import Picture
from progeo.imagery.sources import Source

SMALLEST_BOX = 5.0
"""Metres; a box that is cut off even so stays as it is, and this is said."""
CELL = 10.0
"""Metres: where not all pictures are wanted, one is taken of each such square before a second one of any."""


@dataclass
class Offer:
    """The pictures of an area."""

    pictures: list[Picture] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    """How many cannot be used, by reason."""
    remarks: list[str] = field(default_factory=list)


def find_pictures(
    source: Source, client: Client, area: Area, tell: Callable[[int, int, int], object] = lambda *numbers: None
) -> Offer:
    """Ask for all pictures of an area. Boxes with too much in them are split in four, and doubles dropped.

    Args:
        source: the service.
        client: that asks it.
        area: whose pictures are wanted.
        tell: is told how many boxes are done, how many are known, and how many pictures have been found.

    Raises:
        FetchError: the service does not answer.
    """
    waiting = source.tile(area.boxes)
    pictures: dict[str, Picture] = {}
    left_out: dict[str, str] = {}
    dense = done = 0
    while waiting:
        box = waiting.pop()
        try:
            found = source.search(client, box)
        except TooMuchError:
            found = None
        for picture in found.pictures if found else ():
            if area.contains(picture.latitude, picture.longitude):
                pictures.setdefault(picture.id, picture)
        left_out |= found.left_out if found else {}
        if found is None or not found.complete:
            if box.height_metres > SMALLEST_BOX:
                waiting += box.split()
            else:
                dense += 1
        done += 1
        tell(done, done + len(waiting), len(pictures))
    remarks = []
    if dense:
        remarks.append(
            f"{source.title} holds more than it gives at once in {dense} squares of a few metres: some of its pictures "
            "there are missing"
        )
    return Offer(sort_evenly(pictures.values()), Counter(left_out.values()), remarks)


def sort_evenly(pictures: Iterable[Picture]) -> list[Picture]:
    """Return pictures so that the first ones, however many, lie all over the area; always in the same order."""
    cells: dict[tuple[int, int], list[Picture]] = defaultdict(list)
    for picture in pictures:
        row = math.floor(picture.latitude * METRES_PER_DEGREE / CELL)
        width = CELL / max(0.01, math.cos(math.radians(row * CELL / METRES_PER_DEGREE)))
        cells[row, math.floor(picture.longitude * METRES_PER_DEGREE / width)].append(picture)
    ranked = [
        (rank, _shuffle(picture), picture)
        for cell in cells.values()
        for rank, picture in enumerate(sorted(cell, key=_shuffle))
    ]
    return [picture for _, _, picture in sorted(ranked, key=lambda entry: entry[:2])]


def _shuffle(picture: Picture) -> str:
    return hashlib.sha256(picture.key.encode()).hexdigest()
