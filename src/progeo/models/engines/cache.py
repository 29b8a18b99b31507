"""Graphs that were exported on this machine, by the fingerprint of their model. Finding one needs no torch."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from progeo.files import atomic_write, read_bytes, read_text, write_json
from progeo.plain import parse_json

CACHE_VERSION = 1
"""Raised where progeo exports otherwise than before: older graphs are not used any more."""


def find_folder() -> Path:
    """Return the folder of the graphs, that of the user: ``$XDG_CACHE_HOME/progeo/graphs``."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "progeo" / "graphs"


def find_cached(fingerprint: str) -> tuple[Path, dict[str, Any]] | None:
    """Return the graph of a model and the note on it; None where there is none that is whole and was checked."""
    path = _place(fingerprint)
    try:
        note = parse_json(read_text(_note(path)))
        if note["fingerprint"] == fingerprint and note["sha256"] == hashlib.sha256(read_bytes(path)).hexdigest():
            return path, note
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def keep(fingerprint: str, graph: bytes, **note: Any) -> Path:
    """Write the graph of a model, then the note without which nobody uses it; return the graph's path.

    Raises:
        ProgeoError: it cannot be written.
    """
    path = _place(fingerprint)
    with atomic_write(path) as temporary:
        temporary.write_bytes(graph)
    write_json(_note(path), {"fingerprint": fingerprint, "sha256": hashlib.sha256(graph).hexdigest(), **note})
    return path


def _place(fingerprint: str) -> Path:
    return find_folder() / f"{fingerprint}-{CACHE_VERSION}.onnx"


def _note(path: Path) -> Path:
    return path.with_suffix(".json")
