"""What a model is, as plain data: enough to build it again, and to use it as it was meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from progeo.errors import ProgeoError
from progeo.pixels.recipe import Preprocessing


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
    def from_dict(cls, content: Any, where: object) -> ModelSpec:
        """Return what ``to_dict`` made plain.

        Raises:
            ProgeoError: a part is missing or of the wrong kind; the message names ``where`` it stands.
        """
        try:
            if not isinstance(content, Mapping):
                raise TypeError(f"it is {type(content).__name__}")
            for name, kind in _KINDS.items():
                if isinstance(content[name], bool) or not isinstance(content[name], kind):
                    raise TypeError(f"{name} is {content[name]!r}")
            if content["descriptor_dim"] < 1:
                raise ValueError(f"descriptor_dim is {content['descriptor_dim']}")
            preprocessing = Preprocessing.from_dict(content["preprocessing"])
        except (KeyError, TypeError, ValueError, ProgeoError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise ProgeoError(f"The description inside {where} is damaged ({reason}).") from error
        return cls(**{name: content[name] for name in _KINDS if name != "preprocessing"}, preprocessing=preprocessing)

    def describe(self) -> str:
        """Return backbone, head and dimension in words."""
        return f"{self.backbone}, head {self.head}, {self.descriptor_dim} dimensions"


_KINDS: dict[str, type] = {
    "backbone": str,
    "backbone_arguments": dict,
    "head": str,
    "head_arguments": dict,
    "preprocessing": dict,
    "descriptor_dim": int,
    "licence": str,
    "provenance": dict,
}
