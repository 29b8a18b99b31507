"""progeo: where was this photo taken? Visual place recognition, from geotagged street photos to positions.

>>> import progeo  # doctest: +SKIP
>>> model = progeo.load_model("cosplace:ResNet50:2048")  # doctest: +SKIP
>>> descriptors = model.encode(["photo_1.jpg", "photo_2.jpg"])  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from progeo.errors import explain_missing_library

if TYPE_CHECKING:
    from progeo.data.table import read_photos
    from progeo.errors import ProgeoError
    from progeo.evaluation.evaluate import evaluate
    from progeo.models import create_model, encode, list_models, load_model, register_backbone, register_head
    from progeo.places.database import PlaceDatabase
    from progeo.training import register_method, train
    from progeo.training.fitting import fit

    __version__: str

_HOMES = {
    "PlaceDatabase": "places.database",
    "ProgeoError": "errors",
    "create_model": "models",
    "encode": "models",
    "evaluate": "evaluation.evaluate",
    "fit": "training.fitting",
    "list_models": "models",
    "load_model": "models",
    "read_photos": "data.table",
    "register_backbone": "models",
    "register_head": "models",
    "register_method": "training",
    "train": "training",
}

_OLD = {
    "create_network": ("models.building", "progeo.create_model"),
    "extract_descriptors": ("models.encoder", "progeo.encode"),
}
"""Names of 0.1.0: where they are, and what takes their place."""

__all__ = [
    "PlaceDatabase",
    "ProgeoError",
    "__version__",
    "create_model",
    "encode",
    "evaluate",
    "fit",
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
    if name in _HOMES:
        with explain_missing_library(f"progeo.{name}"):
            found = getattr(import_module(f"progeo.{_HOMES[name]}"), name)
    elif name in _OLD:
        import warnings

        home, instead = _OLD[name]
        warnings.warn(f"progeo.{name} is now {instead}.", DeprecationWarning, stacklevel=2)
        found = getattr(import_module(f"progeo.{home}"), name)
    elif name == "__version__":
        from importlib.metadata import version

        found = version("progeo")
    else:
        raise AttributeError(f"module 'progeo' has no attribute {name!r}")
    globals()[name] = found  # asked for once
    return found


def __dir__() -> list[str]:
    """Return the public names, and nothing else."""
    return __all__
