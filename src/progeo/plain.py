"""Plain data that anybody may have written: JSON, and dataclasses made of it, checked against their annotations."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Collection, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

MAX_DEPTH = 64
"""Lists and objects inside each other."""
LARGEST = 2**63
"""Whole numbers of more bits are nobody's."""
SHOWN = 60
"""Characters of a wrong value that a message shows."""

Kind = TypeVar("Kind")

_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", NoneType: "null"}


def parse_json(text: str | bytes) -> Any:
    """Return what a text in JSON (RFC 8259) says.

    Raises:
        ValueError: it is none, or is nested deeper than MAX_DEPTH.
    """
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    level = [content]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _list_inside(outer)]
        if not level:
            return content
    raise ValueError("it is nested too deep")


def read_dataclass(kind: type[Kind], content: Any, *, required: Collection[str] = ()) -> Kind:
    """Return a dataclass of plain data; lists become tuples and objects dataclasses where these are annotated.

    Args:
        kind: the dataclass.
        content: a value for each field; one with a default may be missing.
        required: fields with a default that may not be missing either.

    Raises:
        ValueError: a field is missing, not known or of another kind; the message names it.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"it is {show(content)}, not an object")
    fields = {one.name: one for one in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    if unknown := [name for name in content if name not in fields]:
        raise ValueError(f"{show(unknown[0])} is not known")
    for name, one in fields.items():
        has_default = not one.default is one.default_factory is dataclasses.MISSING
        if name not in content and (name in required or not has_default):
            raise ValueError(f"{name} is missing")
    return kind(**{name: read_value(hints[name], value, name) for name, value in content.items()})


def read_value(kind: Any, value: Any, name: str) -> Any:
    """Return a value of an annotated kind, such as ``int``, ``list[str]``, ``tuple[float, ...]`` or ``X | None``.

    A number that is true or false, NaN or infinity, or of more than 63 bits is none.

    Raises:
        ValueError: it is of another kind; the message calls it ``name``.
    """
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any or (origin is Literal and value in parts):
        return value
    if origin in (Union, UnionType):
        if value is None and NoneType in parts:
            return None
        return read_value(next(part for part in parts if part is not NoneType), value, name)
    if origin is dict and isinstance(value, Mapping):
        return {read_value(parts[0], key, name): read_value(parts[1], one, name) for key, one in value.items()}
    if origin in (list, tuple) and isinstance(value, list | tuple):
        kinds = [parts[0]] * len(value) if origin is list or parts[-1] is Ellipsis else parts
        if len(kinds) == len(value):
            return origin(read_value(part, one, name) for part, one in zip(kinds, value, strict=True))
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        try:
            return read_dataclass(kind, value)  # type: ignore[arg-type]
        except ValueError as error:
            raise ValueError(f"in {name}, {error}") from error
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if abs(value) < LARGEST or (isinstance(value, float) and math.isfinite(value)):
            return float(value)
    elif kind is int:
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST:
            return value
    elif origin is None and isinstance(kind, type) and isinstance(value, kind):
        return value
    raise ValueError(f"{name} is {show(value)}, not {_WORDS.get(kind, getattr(kind, '__name__', kind))}")


def _list_inside(content: Any) -> Collection[Any]:
    return content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()


def show(value: object) -> str:
    """Return a value as messages show it: short, and in one line."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # thousands of digits or brackets
        text = f"a {type(value).__name__}"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
