"""Names of photos for people: short, told apart, and harmless on a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePath

from rich.cells import cell_len


def tell_apart(paths: Iterable[str]) -> dict[str, str]:
    """Return for each path the name of its file, with as many of its folders as tell it from the other paths."""
    parts = {path: PurePath(path).parts for path in paths}
    depths = dict.fromkeys(parts, 1)
    while True:
        tails = {path: parts[path][-depth:] for path, depth in depths.items()}
        counts = Counter(tails.values())
        longer = [path for path, tail in tails.items() if counts[tail] > 1 and len(tail) < len(parts[path])]
        if not longer:
            return {path: str(PurePath(*tail)) for path, tail in tails.items()}
        for path in longer:
            depths[path] += 1


def make_printable(text: str) -> str:
    """Return a text in which control characters, which a terminal would obey, are spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cut_middle(text: str, width: int | None) -> str:
    """Return a text that takes at most ``width`` columns of a terminal: its beginning and its end."""
    if width is None or cell_len(text) <= width:
        return text
    start = end = ""
    for number in range(len(text)):
        longer = (start + text[number // 2], end) if number % 2 == 0 else (start, text[-1 - number // 2] + end)
        if cell_len("".join(longer)) >= width:
            break
        start, end = longer
    return f"{start}…{end}"
