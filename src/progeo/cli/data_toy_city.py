"""``progeo data toy-city``: a small drawn town with train, val and test photos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from jsonargparse.typing import NonNegativeInt

from progeo.cli.options import REQUIRED, option
from progeo.console import console
from progeo.errors import ProgeoError


@dataclass(kw_only=True)
class ToyCityOptions:
    """Toy city"""

    out: str = option(REQUIRED, "folder to write train, val and test to", positional=True)
    seed: NonNegativeInt = option(0, "another seed, another town")


def run(options: ToyCityOptions) -> None:
    """Run ``progeo data toy-city``: make the city with a progress bar, and say what is where."""
    out = Path(options.out)
    import_toy_city().make_toy_city(out, seed=options.seed, show_progress=True)
    for folder in ("train", "val/database", "val/queries", "test/database", "test/queries"):
        console.print(f"{len(list((out / folder).iterdir())):6,} photos in {out / folder}")


def import_toy_city() -> ModuleType:
    """Return the package that draws the toy city.

    Raises:
        ProgeoError: it is not installed.
    """
    try:
        import progeo_toy_city
    except ImportError as error:
        raise ProgeoError(
            "The toy city is drawn by the package progeo-toy-city, which is not installed: from a clone of progeo, "
            "pip install ./packages/toy-city."
        ) from error
    return progeo_toy_city
