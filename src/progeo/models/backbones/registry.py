"""The list of backbones: each entry says how to build it, what images it wants and where its weights come from."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from progeo.errors import ProgeoError, suggest
from progeo.models.features import FeatureShapes
from progeo.models.text import ImageTextModel
from progeo.pixels.recipe import Preprocessing
from progeo.plugins import load_plugins, note_registration

Stages = Sequence[Sequence[nn.Module | nn.Parameter]]


@dataclass(frozen=True)
class BackboneEntry:
    """What the registry knows of one backbone.

    Attributes:
        build: ``build(pretrained)`` returns the whole network, with its default weights or random ones; it raises
            whatever its library raises when weights cannot be fetched.
        cut: takes that network and returns the part that gives ``Features``, or a tensor (see ``as_features``).
        shapes: from the cut backbone to the dimensions of its features.
        frozen: lists the parameters of the cut backbone that training leaves alone by default; where ``freeze_option``
            names an option, it takes that option's number of stages too.
        stages: from the cut backbone to its blocks or stages, from the image on, each as modules and parameters; what
            belongs to none is the stem. ``unfreeze`` counts them from the end.
        local_stage: from the cut backbone to the name of the submodule whose output, of stride 16, are the local
            features; None where that is the map itself. ``shapes`` gives their channels as ``local``.
        preprocessing: what the published training gives it.
        classifier: prefixes of the tensors that cutting drops.
        source, licence: where its default weights come from, and under which licence they are.
        ignored: names that files hold beside a network's own.
        default_weights: the names that ``backbone_weights`` has for the weights that belong to it.
        own_preprocessing: what the weights were trained with, where that is something else than ``preprocessing``.
        head: name of the head that it has if nothing is said.
        untrained_head: name and arguments of the head with which it describes places without any training.
        same_as: name of the backbone that it is, where it is another one's with a text tower beside it.
        create_image_text: from weights to both towers, where it comes with a text tower.
        text_dimension: dimension of the space that both towers share.
    """

    name: str
    build: Callable[[bool], nn.Module]
    cut: Callable[[nn.Module], nn.Module]
    shapes: Callable[[nn.Module], FeatureShapes]
    frozen: Callable[..., Iterable[nn.Parameter]]
    stages: Callable[[nn.Module], Stages]
    preprocessing: Preprocessing
    classifier: tuple[str, ...]
    source: str
    licence: str
    local_stage: Callable[[nn.Module], str | None] = lambda backbone: None
    ignored: tuple[str, ...] = ()
    default_weights: tuple[str, ...] = ("default",)
    own_preprocessing: Preprocessing | None = None
    freeze_option: str | None = None
    head: str = "gem"
    untrained_head: tuple[str, dict[str, Any]] = ("gem", {"projection": False})
    same_as: str | None = None
    create_image_text: Callable[[str], ImageTextModel] | None = None
    text_dimension: int | None = None


Describe = Callable[..., BackboneEntry]

_DESCRIPTIONS: dict[str, Describe] = {}


def register_backbone(*names: str) -> Callable[[Describe], Describe]:
    """Make the decorated function the one that describes ``names`` with a ``BackboneEntry``.

    A name that ends in a colon stands for all names with that prefix (``timm:`` for ``timm:resnet34``). The function
    is called with the full name, and only when that backbone is asked for: libraries are imported inside.
    """

    def decorate(describe: Describe) -> Describe:
        for name in names:
            _DESCRIPTIONS[name] = describe
            note_registration("backbone", name)
        return describe

    return decorate


def list_backbones() -> list[str]:
    """Return the names of all backbones, those of plugins among them, sorted.

    An open-ended family reads like ``timm:<name>``.
    """
    load_plugins()
    return [f"{name}<name>" if name.endswith(":") else name for name in sorted(_DESCRIPTIONS)]


def is_backbone(name: str) -> bool:
    """Return whether a name is one of a registered backbone, or begins with the prefix of a family."""
    prefix = find_family(name)
    if (prefix or name) not in _DESCRIPTIONS:
        load_plugins()
    return (prefix or name) in _DESCRIPTIONS and name != prefix


def find_family(name: str) -> str:
    """Return the prefix of a name, such as ``timm:``, or nothing where it has none."""
    return name[: name.find(":") + 1]


def find_backbone(name: str, /, **arguments: Any) -> BackboneEntry:
    """Return the entry of backbone ``name``; ``arguments`` are further ones of the function that describes it.

    Raises:
        ProgeoError: there is none, with the nearest names, or it does not take these arguments.
    """
    if not is_backbone(name):
        known = ", ".join(list_backbones())
        raise ProgeoError(f"There is no backbone '{name}'{suggest(name, _DESCRIPTIONS)}. The backbones are: {known}.")
    describe = _DESCRIPTIONS[find_family(name) or name]
    if arguments:
        try:
            inspect.signature(describe).bind(name, **arguments)
        except TypeError as error:
            raise ProgeoError(f"Backbone {name} does not take `backbone_arguments` {arguments}: {error}.") from error
    return describe(name, **arguments)
