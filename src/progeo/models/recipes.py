"""Names of models that do not exist before they are fitted to photos: ``fit``, ``fit:BACKBONE``."""

from __future__ import annotations

from pathlib import Path

RECIPE = "fit"
RECIPE_BACKBONE = "EfficientNet-Lite0"
"""What plain ``fit`` takes: its weights come in a package, so that nothing is fetched."""


def parse_recipe(name: object) -> str | None:
    """Return the backbone of a recipe's name; None where ``name`` is another model, or a file of that name."""
    if not isinstance(name, str) or Path(name).is_file():
        return None
    first, _, backbone = name.partition(":")
    return (backbone or RECIPE_BACKBONE) if first == RECIPE else None
