"""The services that pictures come from, one file each."""

from __future__ import annotations

from progeo.errors import ProgeoError
from progeo.imagery.sources.amsterdam import Amsterdam
from progeo.imagery.sources.commons import Commons
from progeo.imagery.sources.mapillary import Mapillary
from progeo.imagery.sources.panoramax import Panoramax
from progeo.imagery.sources.source import Source

SOURCES: dict[str, type[Source]] = {
    "panoramax": Panoramax,
    "mapillary": Mapillary,
    "amsterdam": Amsterdam,
    "commons": Commons,
}


def make_source(name: str, address: str | None = None) -> Source:
    """Return a source by its name, at another address than its own if one is given.

    Raises:
        ProgeoError: there is none, or it needs a token that the environment does not hold.
    """
    if name not in SOURCES:
        raise ProgeoError(f"`source` {name}: it must be {', '.join(SOURCES)}.")
    return SOURCES[name](address)


__all__ = ["SOURCES", "Source", "make_source"]
