"""progeo: where was this photo taken? Visual place recognition, from geotagged street photos to positions.

>>> import progeo  # doctest: +SKIP
>>> model = progeo.load_model("cosplace:ResNet50:2048")  # doctest: +SKIP
>>> descriptors = progeo.extract_descriptors(model, ["photo.jpg"])  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from progeo.errors import explain_missing_library

if TYPE_CHECKING:
    from progeo.errors import ProgeoError
    from progeo.models.encoder import extract_descriptors
    from progeo.models.network import create_network
    from progeo.models.published import load_model
    from progeo.places.database import PlaceDatabase

__all__ = ["PlaceDatabase", "ProgeoError", "create_network", "extract_descriptors", "load_model"]

_HOMES = {
    "PlaceDatabase": "progeo.places.database",
    "ProgeoError": "progeo.errors",
    "create_network": "progeo.models.network",
    "extract_descriptors": "progeo.models.encoder",
    "load_model": "progeo.models.published",
}


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used, so that ``import progeo`` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'progeo' has no attribute {name!r}")
    with explain_missing_library(f"progeo.{name}"):
        return getattr(import_module(_HOMES[name]), name)
