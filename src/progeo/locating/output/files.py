"""Replacing one file by another: at any moment there is the old one or the new one, whatever happens."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from progeo.files import atomic_write


def replace_file(path: Path, content: bytes) -> None:
    """Write a file on the disk in place of another, whose permissions it keeps.

    Raises:
        ProgeoError: it cannot be written; the old one is still there.
    """
    with atomic_write(path) as temporary:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
