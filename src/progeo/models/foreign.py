"""Running other people's code so that nothing of it is felt elsewhere: what it imports, prints and raises."""

from __future__ import annotations

import hashlib
import io
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from progeo.errors import SIGNS_OF_LITTLE_MEMORY, ProgeoError
from progeo.files import read_bytes

logger = logging.getLogger("progeo")

CODE_SUFFIXES = (".py", ".so", ".pyd")
MISSING = "Missing dependencies"
"""How torch.hub begins where packages are missing that a repository names."""
OFFLINE = "no internet connection"
"""What torch.hub says where it finds a repository neither in its cache nor in the network."""
NEVER_HIDDEN = {"torch", "numpy", "progeo", *sys.stdlib_module_names}

_lock = threading.RLock()
"""Modules and stdout belong to the whole process, so that one foreign code runs at a time."""


class ForeignCode:
    """The code of a repository.

    Attributes:
        folder: where it lies.
        name: what errors call it.
        modules: what it has imported from there, by name; in ``sys.modules`` only while it runs.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """Run nothing yet."""
        self.folder = folder
        self.name = name
        self.modules: dict[str, ModuleType] = {}
        self._is_running = False

    def __deepcopy__(self, memo: dict[int, Any]) -> ForeignCode:
        """Return itself: the code of a copied network is the same."""
        return self

    def compute_hash(self) -> str:
        """Return 64 hexadecimal digits: the hash of all files of code, hidden folders and installed packages aside."""
        digest = hashlib.sha256()
        for path in sorted(self.folder.rglob("*")):
            inside = path.relative_to(self.folder)
            is_skipped = any(part.startswith(".") or part in ("__pycache__", "site-packages") for part in inside.parts)
            if path.suffix in CODE_SUFFIXES and not is_skipped and path.is_file():
                digest.update(f"\n{inside.as_posix()} ".encode() + hashlib.sha256(read_bytes(path)).digest())
        return digest.hexdigest()

    @contextmanager
    def running(self, failure: str, advice: str = "") -> Iterator[None]:
        """Let the code run in the block: with its own modules, its prints in the log, its errors as one message.

        Raises:
            ProgeoError: ``failure``, the reason, and ``advice`` where that may be the network, or what is missing.
        """
        with _lock:
            if self._is_running:  # a model that is tried out while it is loaded
                with explain_foreign_errors(failure, advice):
                    yield
                return
            printed = io.StringIO()
            self._is_running = True
            try:
                with self._own_modules(), redirect_stdout(printed), explain_foreign_errors(failure, advice):
                    yield
            finally:
                self._is_running = False
                if text := printed.getvalue().strip():
                    logger.info(f"{self.name} says: {text}")

    @contextmanager
    def _own_modules(self) -> Iterator[None]:
        """Bring in the code's modules for the block; what it imports is nobody else's, nor are others' modules its own.

        Every repository has its own ``utils`` or ``models``; the second must not get those of the first.
        """
        own = {path.stem for path in self.folder.iterdir() if path.suffix == ".py" or path.is_dir()}
        own = {name.partition(".")[0] for name in self.modules} or own - NEVER_HIDDEN
        hidden = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in own}
        for name in hidden:
            del sys.modules[name]
        before = set(sys.modules)
        sys.modules.update(self.modules)
        sys.path.insert(0, str(self.folder))
        try:
            yield
        finally:
            homes = (self.folder, Path(torch.hub.get_dir()).resolve())
            found = {name: sys.modules[name] for name in set(sys.modules) - before if not name.startswith("progeo.")}
            self.modules = {name: module for name, module in found.items() if _is_below(module, homes)}
            for name in self.modules:
                del sys.modules[name]
            sys.modules.update(hidden)
            if str(self.folder) in sys.path:
                sys.path.remove(str(self.folder))


@contextmanager
def explain_foreign_errors(failure: str, advice: str = "") -> Iterator[None]:
    """Turn whatever foreign code or the network raises, leaving the program included, into one ProgeoError."""
    try:
        yield
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, MemoryError) or any(sign in reason for sign in SIGNS_OF_LITTLE_MEMORY):
            raise  # which has a remedy of its own
        if isinstance(error, SystemExit):
            reason = f"it exits with {reason}"
        if isinstance(error, ModuleNotFoundError) and error.name:
            advice = f" It needs the package that gives {error.name}: install that first, for example with pip."
        elif reason.startswith(MISSING):
            advice = " Install them first, for example with pip."
        elif not isinstance(error, OSError) and OFFLINE not in reason:  # errors of networks are among the former
            advice = ""
        raise ProgeoError(f"{failure} ({reason}).{advice}") from error


def _is_below(module: ModuleType | None, homes: tuple[Path, ...]) -> bool:
    """Return whether a module, or a package without a file of its own, comes from below one of the folders."""
    file = getattr(module, "__file__", None)
    places = [file] if file else list(getattr(module, "__path__", []))
    return any(home in Path(place).resolve().parents for place in places for home in homes)
