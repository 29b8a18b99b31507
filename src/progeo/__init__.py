"""progeo: where was this photo taken? Visual place recognition, from geotagged street photos to positions.

>>> import progeo  # doctest: +SKIP
>>> model = progeo.load_model("cosplace:ResNet50:2048")  # doctest: +SKIP
>>> descriptors = model.encode(["photo_1.jpg", "photo_2.jpg"])  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from progeo.data.table import read_photos
    from progeo.errors import ProgeoError
    from progeo.evaluation.evaluate import evaluate
    from progeo.models import create_model, create_network, encode, extract_descriptors, list_models, load_model
    from progeo.models.backbones.registry import register_backbone
    from progeo.models.heads import register_head
    from progeo.places.database import PlaceDatabase
    from progeo.training import train
    from progeo.training.methods import register_method

    __version__: str

_HOMES = {
    "PlaceDatabase": "places.database",
    "ProgeoError": "errors",
    "create_model": "models",
    "encode": "models",
    "evaluate": "evaluation.evaluate",
    "list_models": "models",
    "load_model": "models",
    "read_photos": "data.table",
    "register_backbone": "models.backbones.registry",
    "register_head": "models.heads",
    "register_method": "training.methods",
    "train": "training",
}
_BEFORE = {"create_network": "models", "extract_descriptors": "models"}
"""Names of 0.1.0, which warn."""

__all__ = [
    "PlaceDatabase",
    "ProgeoError",
    "__version__",
    "create_model",
    "encode",
    "evaluate",
    "list_models",
    "load_model",
    "read_photos",
    "register_backbone",
    "register_head",
    "register_method",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used, so that ``import progeo`` costs nothing."""
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("progeo")
        except PackageNotFoundError:  # a clone that is not installed
            return "not installed"
    home = (_HOMES | _BEFORE).get(name)
    if home is None:
        raise AttributeError(f"module 'progeo' has no attribute {name!r}")
    return getattr(import_module(f"progeo.{home}"), name)


def __dir__() -> list[str]:
    """Return the public names, and nothing else."""
    return list(__all__)
