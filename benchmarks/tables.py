"""Putting a measured table into docs/benchmarks.md, between two marks that name it."""

from __future__ import annotations

import re
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"


def format_table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table; columns after the first are aligned to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_table(name: str, header: list[str], rows: list[list[str]]) -> None:
    """Print a table and put it into its section of docs/benchmarks.md."""
    text = format_table(header, rows)
    print(text)
    replace_section(name, text)


def replace_section(name: str, text: str, document: Path = DOCUMENT) -> None:
    """Put ``text`` between ``<!-- name -->`` and ``<!-- end of name -->`` of a page, docs/benchmarks.md if not said."""
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    content = document.read_text(encoding="utf-8")
    pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(content):
        raise ValueError(f"{document} has no section {start} ... {end}")
    document.write_text(pattern.sub(lambda _: f"{start}\n{text}\n{end}", content), encoding="utf-8")
