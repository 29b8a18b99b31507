"""LanceDB, loaded without the classes of its client for remote namespaces: two hundred, more than half of its import.

A folder or an object store needs none of them. Each has a stand-in, which loads the class when it is used after all.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

CLIENT = "lance_namespace_urllib3_client"


class _StandIn(type):
    """The class of classes that are loaded when they are used."""

    def load(cls) -> Any:
        """Return the class itself."""
        return getattr(import_module(cls.__module__), cls.__name__)

    def __call__(cls, *arguments: Any, **named: Any) -> Any:
        return cls.load()(*arguments, **named)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):  # what typing and pydantic ask every class for
            raise AttributeError(name)
        return getattr(cls.load(), name)

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.load())


class _Module(ModuleType):
    """A module of stand-ins."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _StandIn(name, (), {"__module__": self.__name__})


class _Finder(MetaPathFinder, Loader):
    """Finds modules of stand-ins for all modules of the client."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to make the module of this name, where it is one of the client's."""
        is_client = fullname.partition(".")[0] == CLIENT
        return ModuleSpec(fullname, self, is_package=True) if is_client else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return an empty module."""
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Leave it empty."""


@contextmanager
def _without_client() -> Iterator[None]:
    """Let what is imported inside the block see stand-ins of the client; what is imported later sees the client."""
    if CLIENT in sys.modules:
        yield
        return
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] == CLIENT]:
            del sys.modules[name]


with _without_client():
    import lancedb as lancedb
