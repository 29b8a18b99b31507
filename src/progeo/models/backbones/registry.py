"""The list of backbones: each entry says how to build it, what images it wants and where its weights come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from torch import nn

from progeo.errors import ProgeoError
from progeo.models.text import ImageTextModel
from progeo.pixels.recipe import Preprocessing


@dataclass(frozen=True)
class BackboneEntry:
    """What the registry knows of one backbone.

    ``build(pretrained)`` returns the whole network, with its default weights or random ones; it raises whatever its
    library raises when weights cannot be fetched. ``cut`` takes that network and returns the part that gives the
    feature map (B, C, h, w), or descriptors (B, D) where ``gives_descriptors``. ``frozen`` lists the parameters of the
    cut backbone that training leaves alone by default; where ``freeze_option`` names an option, it takes that option's
    number of stages too. ``classifier`` are the prefixes of the tensors that cutting drops, ``ignored`` the names that
    files hold beside a network's own. ``default_weights`` are the names that ``backbone_weights`` has for those that
    belong to it. A backbone that comes with a text tower has ``create_image_text``, from weights
    to both towers, and the dimension of the space that they share, ``text_dimension``.
    """

    name: str
    build: Callable[[bool], nn.Module]
    cut: Callable[[nn.Module], nn.Module]
    count_channels: Callable[[nn.Module], int]
    frozen: Callable[..., Iterable[nn.Parameter]]
    preprocessing: Preprocessing
    classifier: tuple[str, ...]
    source: str
    licence: str
    ignored: tuple[str, ...] = ()
    default_weights: tuple[str, ...] = ("default",)
    freeze_option: str | None = None
    gives_descriptors: bool = False
    create_image_text: Callable[[str], ImageTextModel] | None = None
    text_dimension: int | None = None


Describe = Callable[[str], BackboneEntry]

_DESCRIPTIONS: dict[str, Describe] = {}


def register(*names: str) -> Callable[[Describe], Describe]:
    """Register the decorated function as the one that describes ``names``.

    A name that ends in a colon stands for all names with that prefix (``timm:`` for ``timm:resnet34``). The function
    is called with the full name, and only when that backbone is asked for: libraries are imported inside.
    """

    def decorate(describe: Describe) -> Describe:
        _DESCRIPTIONS.update(dict.fromkeys(names, describe))
        return describe

    return decorate


def list_backbones() -> list[str]:
    """Return the names of all registered backbones, sorted; an open-ended family reads like ``timm:<name>``."""
    return [f"{name}<name>" if name.endswith(":") else name for name in sorted(_DESCRIPTIONS)]


def find_backbone(name: str) -> BackboneEntry:
    """Return the entry of backbone ``name``; ProgeoError with the nearest names when there is none."""
    prefix = name[: name.find(":") + 1]
    describe = _DESCRIPTIONS.get(prefix or name)
    if describe is None or name == prefix:
        known = ", ".join(list_backbones())
        raise ProgeoError(f"There is no backbone '{name}'{suggest(name, _DESCRIPTIONS)}. The backbones are: {known}.")
    return describe(name)


def suggest(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean A, B or C?)`` with the ``known`` names nearest to ``name``, or nothing."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    near = [by_lower[match] for match in get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)]
    if not near:
        return ""
    return f" (did you mean {', '.join(near[:-1]) + ' or ' if near[:-1] else ''}{near[-1]}?)"
