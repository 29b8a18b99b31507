"""``progeo models``: which models there are, under which licence, and which of them are on this machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from progeo.cli.options import REQUIRED, option
from progeo.errors import ProgeoError

HEADINGS = {
    "name": "model",
    "photos": "photos",
    "dimension": "dimension",
    "licence": "licence of the weights",
    "trained_on": "trained on",
    "cached": "here",
}


@dataclass(kw_only=True)
class ModelsOptions:
    """List of models"""

    patterns: list[str] = option(
        REQUIRED, "names of models, in which * stands for anything; without any, all models", positional=True
    )
    json: bool = option(False, "print the models as a JSON array")


def run(options: ModelsOptions) -> None:
    """Run ``progeo models``: print one line a model to stdout.

    Raises:
        ProgeoError: there is no model of such a name.
    """
    from progeo.models.published import list_models

    models: list[dict[str, Any]] = []
    for pattern in options.patterns or ["*"]:
        found = list_models(pattern, details=True)
        if not found:
            raise ProgeoError(f"There is no model like {pattern}. A part of a name needs stars: '*ResNet50*'.")
        models += [model for model in found if model not in models]
    if options.json:
        print(json.dumps(models))
        return
    rows = [list(HEADINGS.values()), *([_spell(model[key]) for key in HEADINGS] for model in models)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _spell(value: Any) -> str:
    """Return a cell: ``-`` for what depends on more than the name."""
    if value is None:
        return "-"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
