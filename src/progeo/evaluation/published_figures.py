"""What others found with a published model by a protocol, beside what is measured here. Each figure has its source."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).with_suffix(".json")
"""Only what was read at its source, at that commit. Which queries a set has must be stated there, or follow from its
name: figures on Nordland without the number of queries are left out."""


@dataclass(frozen=True)
class PublishedFigures:
    """The recalls of one model by one protocol, as they were published."""

    model: str
    protocol: str
    recalls: dict[str, float]
    """``R@1`` and so on, in percent; not every source has every rank."""
    source: str
    """Address of where they stand."""

    def to_dict(self) -> dict[str, Any]:
        """Return recalls and source, for JSON."""
        return {"recalls": self.recalls, "source": self.source}


def find_published_figures(model: str | None, protocol: str | None) -> PublishedFigures | None:
    """Return what was published of a model by a protocol, by their names; None where nothing is known."""
    return next((one for one in list_published_figures() if (one.model, one.protocol) == (model, protocol)), None)


@cache
def list_published_figures() -> tuple[PublishedFigures, ...]:
    """Return all figures, in the order of the file."""
    return tuple(
        PublishedFigures(
            model,
            protocol,
            {f"R@{rank}": value for rank, value in zip(entry["ranks"], values, strict=True)},
            entry["source"],
        )
        for entry in json.loads(FIGURES.read_text(encoding="utf-8"))
        for model, protocols in entry["recalls"].items()
        for protocol, values in protocols.items()
    )
