"""The list of heads, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn

from progeo.errors import ProgeoError, suggest
from progeo.models.features import FeatureShapes
from progeo.plugins import load_plugins, note_registration

DEFAULT_DIMENSION = 512
"""Dimension of descriptors where neither the user, nor the head, nor a text tower says one."""

Head = TypeVar("Head", bound=Callable[..., nn.Module])


@dataclass(frozen=True)
class HeadEntry:
    """What ``register_head`` was told of a head's class, ``build``."""

    name: str
    build: Callable[..., nn.Module]
    needs: tuple[str, ...]
    fixed_dim: str | None
    own_dim: Callable[..., int] | None
    needs_grid: bool


_HEADS: dict[str, HeadEntry] = {}


def register_head(
    name: str,
    *,
    needs: str | Sequence[str] = (),
    fixed_dim: str | None = None,
    own_dim: Callable[..., int] | None = None,
    needs_grid: bool = False,
) -> Callable[[Head], Head]:
    """Make the decorated class known as head ``name``.

    Args:
        name: what users call it.
        needs: ``map``, ``tokens`` or ``cls``, or several: what of the features it cannot do without.
        fixed_dim: the one of these whose width its descriptors have; None where ``descriptor_dim`` is free.
        own_dim: from shapes and the head's arguments to the dimension that it has if nothing is said.
        needs_grid: whether its weights depend on the size of the map: it takes an argument ``grid``, (height, width).
    """
    needed = (needs,) if isinstance(needs, str) else tuple(needs)

    def decorate(head: Head) -> Head:
        _HEADS[name] = HeadEntry(name, head, needed, fixed_dim, own_dim, needs_grid)
        note_registration("head", name)
        return head

    return decorate


def list_heads() -> list[str]:
    """Return the names of all heads, those of plugins among them, sorted."""
    load_plugins()
    return sorted(_HEADS)


def find_head(name: str) -> HeadEntry:
    """Return the entry of head ``name``; ProgeoError with the nearest names when there is none."""
    if name not in _HEADS:
        load_plugins()
    if name not in _HEADS:
        known = ", ".join(list_heads())
        raise ProgeoError(f"There is no head '{name}'{suggest(name, _HEADS)}. The heads are: {known}.")
    return _HEADS[name]


def create_head(
    name: str,
    shapes: FeatureShapes,
    descriptor_dim: int | None = None,
    arguments: Mapping[str, Any] | None = None,
    *,
    backbone: str = "the backbone",
    default_dim: int | None = None,
) -> tuple[nn.Module, int]:
    """Return a new head with random weights, and the dimension of its descriptors.

    Args:
        name: of ``list_heads``.
        shapes: of the features that it will get.
        descriptor_dim: dimension of the descriptors; None takes the only one that the head can give, else
            ``default_dim``, else the head's usual one, else 512.
        arguments: further arguments of the head's class.
        backbone: what errors call the backbone.
        default_dim: dimension that suits the backbone.

    Raises:
        ProgeoError: there is no such head, the backbone lacks what it needs, or it does not take these arguments.
    """
    entry = find_head(name)
    if missing := [part for part in entry.needs if getattr(shapes, part) is None]:
        needed = {"map": "a feature map", "tokens": "tokens", "cls": "a class token"}[missing[0]]
        raise ProgeoError(f"Head '{name}' needs {needed}, but {backbone} gives {shapes.describe()}. Choose another.")
    fixed = getattr(shapes, entry.fixed_dim) if entry.fixed_dim else None
    if fixed is not None and descriptor_dim not in (None, fixed):
        raise ProgeoError(
            f"{backbone} gives descriptors of {fixed} dimensions with head '{name}': use `descriptor_dim` {fixed}."
        )
    own = entry.own_dim(shapes, **(arguments or {})) if entry.own_dim else None
    dimension = fixed or descriptor_dim or default_dim or own or DEFAULT_DIMENSION
    try:
        return entry.build(shapes, dimension, **(arguments or {})), dimension
    except TypeError as error:
        given = ", ".join(f"{key}={value!r}" for key, value in (arguments or {}).items())
        raise ProgeoError(f"Head '{name}' cannot be made with `descriptor_dim` {dimension} {given}: {error}") from error
