"""Writing files so that an interruption, a full disk or a second run never leaves half of one."""

from __future__ import annotations

import errno
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from progeo.errors import ProgeoError


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` to write to; at the end of the block it takes the place of ``path``.

    Where the block fails, the temporary file is removed and what stood at ``path`` before is still there.

    Raises:
        ProgeoError: the file cannot be written (disk full, no permission); the message says what is kept.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        kept = f"; the {path.name} written before is kept" if path.is_file() else ""
        advice = "free some space" if error.errno == errno.ENOSPC else "check the place"
        raise ProgeoError(f"Cannot write {path}: {error.strerror or error}{kept}. Please {advice}.") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` to fill; at the end of the block it takes the place of ``path``.

    Where the block fails, the temporary folder is removed.

    Raises:
        ProgeoError: ``path`` is a file or a folder that holds something, or the folder cannot be written.
    """
    path = Path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ProgeoError(f"{path} is there already: please choose a folder that is new or empty.")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            path.rmdir()
        temporary.replace(path)
    except OSError as error:
        raise ProgeoError(f"Cannot write {path}: {error.strerror or error} ({error.filename}).") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
