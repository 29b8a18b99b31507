"""Arguments of the library as the command line spells them: what its messages call `` `name` `` is ``--name`` here."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager

ALIASES = {"descriptor_dim": "fc_output_dim", "native": "resize_test_imgs"}
"""Arguments whose options are called otherwise, as published."""


def spell_options(text: str, options: Collection[str]) -> str:
    """Return a message of the library for the command that has these options, by their names without dashes.

    An argument that the command has no option for keeps its plain name.
    """

    def spell(argument: re.Match[str]) -> str:
        name = ALIASES.get(argument[1], argument[1])
        if name == "batch_size" and name not in options:
            name = "infer_batch_size"
        return f"--{name}" if name in options else argument[1]

    return re.sub(r"`(\w+)`", spell, text)


def say(text: str, options: Collection[str] = (), style: str | None = None) -> None:
    """Print a line on the terminal, whatever signs are in it; arguments are spelled as the command's options."""
    from progeo.console import console

    console.print(spell_options(text, options), style=style, markup=False, soft_wrap=True)


@contextmanager
def spell_log(options: Collection[str]) -> Iterator[None]:
    """Spell arguments as options in the lines that the library logs in the block."""

    def spell(record: logging.LogRecord) -> bool:
        record.msg, record.args = spell_options(record.getMessage(), options), ()
        return True

    logger = logging.getLogger("progeo")
    logger.addFilter(spell)
    try:
        yield
    finally:
        logger.removeFilter(spell)
