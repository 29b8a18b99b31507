"""Models: what they are, loading and creating them, and running them on photos."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from progeo.models.backbones.create import list_backbones
    from progeo.models.backbones.registry import register_backbone
    from progeo.models.building import build, create_model
    from progeo.models.encoder import Encoder
    from progeo.models.files import save_model
    from progeo.models.heads import list_heads, register_head
    from progeo.models.loading import encode, load_model
    from progeo.models.network import PlaceNetwork
    from progeo.models.published import list_models
    from progeo.models.spec import ModelSpec

_HOMES = {
    "list_backbones": "progeo.models.backbones.create",
    "register_backbone": "progeo.models.backbones.registry",
    "Encoder": "progeo.models.encoder",
    "save_model": "progeo.models.files",
    **dict.fromkeys(("list_heads", "register_head"), "progeo.models.heads"),
    **dict.fromkeys(("build", "create_model"), "progeo.models.building"),
    "PlaceNetwork": "progeo.models.network",
    **dict.fromkeys(("encode", "load_model"), "progeo.models.loading"),
    "list_models": "progeo.models.published",
    "ModelSpec": "progeo.models.spec",
}

__all__ = [
    "Encoder",
    "ModelSpec",
    "PlaceNetwork",
    "build",
    "create_model",
    "encode",
    "list_backbones",
    "list_heads",
    "list_models",
    "load_model",
    "register_backbone",
    "register_head",
    "save_model",
]


def __getattr__(name: str) -> Any:
    """Import names when they are first used: ``Encoder`` and ``ModelSpec`` need no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'progeo.models' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
