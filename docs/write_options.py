"""Writes docs/options.md from the option dataclasses; run ``python docs/write_options.py`` after changing an option."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, Optional, get_type_hints

from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from progeo.cli import options as config
from progeo.cli.program import COMMANDS, find_options_class
from progeo.cli.spelling import spell_options

PAGE = Path(__file__).with_name("options.md")

INTRODUCTION = """\
# Options

This page is written by `python docs/write_options.py` from the same list that the commands read.
`progeo COMMAND --help` prints the same.

- `python3 train.py` takes the options of `progeo train`, `python3 eval.py` those of `progeo eval`.
- `--name value` and `--name=value` are the same. A switch is turned on by `--name` and off by `--no_name`.
- `--config FILE` reads options from a YAML file, such as the `config.yaml` of a run. Options after it win.
- `--debug`, with any command, prints the traceback of an error. `progeo --version` prints the version.
- A dash as default means that the value follows from something else; the last column says from what.
"""

VALUES = {
    str: "text",
    bool: "switch",
    PositiveInt: "whole number, at least 1",
    NonNegativeInt: "whole number, at least 0",
    PositiveFloat: "number above 0",
    NonNegativeFloat: "number, at least 0",
    ClosedUnitInterval: "number from 0 to 1",
    config.HalfTurn: "number from 0 to 0.5",
    config.PortNumber: "whole number from 0 to 65535",
    float: "number",
    int: "whole number",
    dict[str, Any]: "YAML mapping",
    Literal[1, 2]: "`1`, `2`",
}


def describe_options() -> str:
    """Return the page: one table per group of options, each group once, with the commands that take it."""
    sections = [INTRODUCTION]
    for group, commands in collect_groups().items():
        takers = ", ".join(f"`progeo {command}`" for command in commands)
        types = get_type_hints(group)
        rows = "\n".join(
            describe_option(option, config.restrict_type(types[option.name], option.metadata), types)
            for option in own_options(group)
        )
        sections.append(
            f"## {inspect.getdoc(group)}\n\n{takers}\n\n"
            f"| option | value | default | what it does |\n|---|---|---|---|\n{rows}\n"
        )
    return "\n".join(sections)


def collect_groups() -> dict[type, list[str]]:
    """Return each dataclass that defines options, with the commands that take them."""
    groups: dict[type, list[str]] = {}
    for name in COMMANDS:
        options_class = find_options_class(name)
        group: type
        for group in options_class.__mro__:
            if dataclasses.is_dataclass(group) and own_options(group):
                groups.setdefault(group, []).append(name)
    return groups


def own_options(group: type) -> list[dataclasses.Field[Any]]:
    """Return the options that a dataclass defines itself, without inherited ones."""
    return [field for field in dataclasses.fields(group) if field.name in inspect.get_annotations(group)]


def describe_option(option: dataclasses.Field[Any], value_type: Any, known: Collection[str]) -> str:
    """Return one row of a table; ``known`` are the names of the command's options."""
    metadata = option.metadata
    names = [option.name] if metadata["positional"] else config.list_names(option)
    spelled = ", ".join(f"`{name}`" for name in names)
    values = ", ".join(f"`{choice}`" for choice in metadata["choices"]) or describe_values(value_type)
    help_text = spell_options(metadata["help"], known).replace("<", "&lt;").replace(">", "&gt;").replace("|", "&#124;")
    return f"| {spelled} | {values} | {describe_default(option)} | {help_text} |"


def describe_values(value_type: Any) -> str:
    """Return what an option of this type can be set to."""
    if value_type == config.Repeated:
        return "text, may be given several times"
    for plain_type, text in VALUES.items():
        if value_type in (plain_type, Optional[plain_type]):  # noqa: UP045 (Literal takes no |)
            return text
        if value_type in (list[plain_type], list[plain_type] | None):  # type: ignore[valid-type]
            return f"one or more: {text}"
    raise TypeError(f"say in VALUES how {value_type} reads")


def describe_default(option: dataclasses.Field[Any]) -> str:
    """Return what holds where an option is not given."""
    if option.default is dataclasses.MISSING:
        return "required"
    if option.default is None:
        return "-"
    if isinstance(option.default, bool):
        return "on" if option.default else "off"
    return f"`{option.default}`"


if __name__ == "__main__":
    PAGE.write_text(describe_options(), encoding="utf-8")
