"""Plain data that anybody may have written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from progeo.plain import parse_json, read_dataclass


@dataclass
class Inner:
    size: int


@dataclass
class Outer:
    name: str
    share: float
    kind: Literal["a", "b"]
    pair: tuple[int, int]
    inner: Inner | None
    numbers: dict[str, list[float]] = field(default_factory=dict)


GOOD: dict[str, Any] = {"name": "x", "share": 1, "kind": "a", "pair": [1, 2], "inner": {"size": 3}}


def test_a_dataclass_is_read() -> None:
    assert read_dataclass(Outer, GOOD) == Outer("x", 1.0, "a", (1, 2), Inner(3))
    assert read_dataclass(Outer, GOOD | {"inner": None, "numbers": {"a": [1, 2.5]}}).numbers == {"a": [1.0, 2.5]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": 3}, "name is 3, not a text"),
        *(({"share": value}, "share is") for value in ("1", True, None, float("nan"), float("inf"), 10**26)),
        ({"kind": "c"}, "kind is 'c'"),
        *(({"pair": value}, "pair is") for value in ([1], [1, 2, 3], [1, 2.5], "ab", [True, 1], [10**26, 1])),
        ({"inner": {"size": -0.5}}, "in inner, size is -0.5, not a whole number"),
        ({"inner": {}}, "in inner, size is missing"),
        ({"numbers": {"a": ["x"]}}, "numbers is 'x'"),
        ({"colour": 1}, "'colour' is not known"),
        ({"name": "x" * 10**6, "share": "y" * 10**6}, "share is"),
    ],
)
def test_what_is_wrong_is_named_in_a_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        read_dataclass(Outer, GOOD | changes)
    assert len(str(raised.value)) < 200


def test_missing_fields_and_other_things_are_named() -> None:
    with pytest.raises(ValueError, match="name is missing"):
        read_dataclass(Outer, {})
    with pytest.raises(ValueError, match="numbers is missing"):
        read_dataclass(Outer, GOOD, required=["numbers"])
    with pytest.raises(ValueError, match=r"it is \[\], not an object"):
        read_dataclass(Outer, [])


@pytest.mark.parametrize("depth", [65, 900, 100_000])
def test_json_is_not_nested_deep(depth: int) -> None:
    for text in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
        with pytest.raises(ValueError, match="nested too deep"):
            parse_json(text)
    assert parse_json("[" * 64 + "]" * 64)
