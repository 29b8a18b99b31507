"""Packages that add to progeo: heads, backbones, methods, by the entry point group ``progeo.plugins``.

A plugin names a module in its ``pyproject.toml``; importing that module registers what it brings:

    [project.entry-points."progeo.plugins"]
    my-heads = "my_package.heads"
"""

from __future__ import annotations

import logging
import threading
from importlib.metadata import EntryPoint, entry_points

GROUP = "progeo.plugins"

logger = logging.getLogger("progeo")

_lock = threading.RLock()
_loaded = False
_loading: str | None = None
_packages: dict[tuple[str, str], str] = {}


def load_plugins() -> None:
    """Import the modules of all installed plugins, once; a broken one is named in the log and left out."""
    global _loaded, _loading
    with _lock:
        if _loaded:
            return
        _loaded = True  # also while they are imported: what they look up does not load them again
        for entry in entry_points(group=GROUP):
            _loading = _find_package(entry)
            try:
                entry.load()
            except Exception as error:  # anything may be wrong with a package of others
                logger.warning(f"The plugin {entry.name} of {_loading} cannot be loaded ({error!r}) and is left out")
            finally:
                _loading = None


def note_registration(kind: str, name: str) -> None:
    """Remember which distribution brings a part; registries tell of each that is registered.

    Args:
        kind: ``head``, ``backbone``, ``method``.
        name: of the part.
    """
    if _loading is not None:
        _packages[kind, name] = _loading


def find_packages(**parts: str) -> list[str]:
    """Return the distributions that bring parts, given as kind and name; nothing for those of progeo itself."""
    found = (_packages.get((kind, name)) for kind, name in parts.items())
    return sorted({package for package in found if package})


def _find_package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.module
