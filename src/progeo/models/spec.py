"""What a model is, as plain data: enough to build it again, and to use it as it was meant."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from progeo.errors import ProgeoError
from progeo.pixels.recipe import Preprocessing
from progeo.plain import parse_json, read_dataclass, read_value, show

MAX_DIMENSION = 2**20
"""Of descriptors. The longest in use have 49,152 dimensions."""
_PROVENANCE = {
    "packages": list[str],
    "own_parts": bool,
    "untrained": bool,
    "batch_dependent": bool,
    "files_hash": str,
    "repository": str,
    "training": dict[str, Any],
    "fitted": dict[str, Any],
    "metrics": dict[str, Any],
}
"""What parts of the provenance are, where others read them."""


@dataclass(frozen=True)
class ModelSpec:
    """What a model is. ``build(spec)`` makes the network, with random weights.

    Attributes:
        backbone: a name of the registry, the address of a model of torch.hub, or the class of a user's own module.
        backbone_arguments: what else its constructor is given.
        head: a name of the registry, or the class of a user's own module.
        head_arguments: what else its constructor is given.
        preprocessing: how it wants its photos.
        descriptor_dim: dimension of its descriptors.
        licence: under which its weights may be used.
        provenance: how it came to be, as plain data. What progeo writes: ``source`` (text), ``untrained`` (bool),
            ``training`` and ``metrics`` (dicts), ``repository`` (text) with ``files_hash`` (of a model of torch.hub),
            ``batch_dependent`` (bool), ``packages`` (the distributions that register its parts), ``own_parts`` (bool,
            where the network was put together in Python), ``created`` (ISO 8601), ``progeo_version``.
    """

    backbone: str
    head: str
    preprocessing: Preprocessing
    descriptor_dim: int
    backbone_arguments: dict[str, Any] = field(default_factory=dict)
    head_arguments: dict[str, Any] = field(default_factory=dict)
    licence: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "backbone": self.backbone,
            "backbone_arguments": self.backbone_arguments,
            "head": self.head,
            "head_arguments": self.head_arguments,
            "preprocessing": self.preprocessing.to_dict(),
            "descriptor_dim": self.descriptor_dim,
            "licence": self.licence,
            "provenance": self.provenance,
        }

    @classmethod
    def from_json(cls, text: str | bytes, where: object) -> ModelSpec:
        """Return what ``to_dict`` gave, from JSON; raises as ``from_dict`` does."""
        try:
            content = parse_json(text)
        except ValueError as error:
            raise explain_damage(where, error) from error
        return cls.from_dict(content, where)

    @classmethod
    def from_dict(cls, content: Any, where: object) -> ModelSpec:
        """Return what ``to_dict`` made plain.

        Raises:
            ProgeoError: a part is missing or of the wrong kind; the message names ``where`` it stands.
        """
        try:
            if isinstance(content, Mapping) and "preprocessing" in content:
                content = {**content, "preprocessing": Preprocessing.from_dict(content["preprocessing"])}
            spec = read_dataclass(cls, content, required=[one.name for one in fields(cls)])
            check_dimension(spec.descriptor_dim)
            json.dumps([spec.backbone_arguments, spec.head_arguments], allow_nan=False)
            for name, kind in _PROVENANCE.items():
                if spec.provenance.get(name) is not None:
                    read_value(kind, spec.provenance[name], name)
        except (ValueError, ProgeoError) as error:
            raise explain_damage(where, error) from error
        return spec

    def describe(self) -> str:
        """Return backbone, head and dimension in words."""
        return f"{self.backbone}, head {self.head}, {self.descriptor_dim} dimensions"


def check_dimension(dimension: Any) -> None:
    """Raise ProgeoError unless this is a dimension that descriptors can have."""
    if isinstance(dimension, bool) or not isinstance(dimension, int) or not 1 <= dimension <= MAX_DIMENSION:
        raise ProgeoError(f"`descriptor_dim` must be a whole number from 1 to {MAX_DIMENSION}, not {show(dimension)}.")


def explain_damage(where: object, error: Exception) -> ProgeoError:
    """Return the error of a description that cannot be, which stands somewhere."""
    return ProgeoError(
        f"The description inside {where} is damaged ({error}). Take another copy of the file, or make it anew."
    )
