"""The photos whose position is told, with their times: what formats take that know only places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from progeo.errors import ProgeoError
from progeo.locating.estimate import Located
from progeo.locating.output.names import tell_apart
from progeo.locating.sequence import read_times


@dataclass(frozen=True)
class Marked:
    """A photo on the map."""

    path: str
    name: str
    """Its file, with as many folders as tell it from the others."""
    latitude: float
    longitude: float
    radius: float | None
    """Metres, where it is known."""
    probability: float | None
    agreement: float
    time: datetime | None

    def describe(self) -> str:
        """Return how sure the position is, in words."""
        if self.probability is None:
            sure = f"{100 * self.agreement:.0f} % of the matches agree"
        else:
            sure = f"{100 * self.probability:.0f} % sure to be within 25 m"
        return f"Estimated by progeo, {sure}" + ("" if self.radius is None else f", radius {self.radius:.0f} m")

    @property
    def address(self) -> str:
        """The file's address."""
        return Path(self.path).absolute().as_uri()


def refuse_local_frame(what: str) -> ProgeoError:
    """Return the error where what is asked for takes places on the earth, and positions are of a local frame."""
    return ProgeoError(
        f"`{what}` takes latitude and longitude, but the positions of this database are x and y in metres of a local "
        "frame, and where on the earth that lies is not known. `json`, `csv` and `map` tell them."
    )


def mark(results: Sequence[Located], what: str) -> list[Marked]:
    """Return the photos whose position is told and not of an unknown place, in their order.

    Raises:
        ProgeoError: the positions are of a local frame, which ``what`` cannot say.
    """
    if any(result.estimate.is_local for result in results):
        raise refuse_local_frame(what)
    names = tell_apart(result.path for result in results)
    times = read_times([result.path for result in results])
    marked = []
    for result, time in zip(results, times, strict=True):
        estimate = result.estimate
        if estimate.latitude is None or estimate.longitude is None or estimate.known is False:
            continue
        marked.append(
            Marked(
                result.path,
                names[result.path],
                estimate.latitude,
                estimate.longitude,
                estimate.radius_metres,
                estimate.probability,
                estimate.agreement,
                time,
            )
        )
    return marked
