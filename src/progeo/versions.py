"""The versions of the software that a result depends on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("progeo", "torch", "torchvision", "timm", "faiss-cpu", "numpy", "pillow")


def collect_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide the result."""
    versions = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # a package can be there under another name, as faiss from conda
            versions[package] = "not known"
    return versions
