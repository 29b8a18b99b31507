"""Files that no interruption, full disk or second run leaves half written; and the folder of one run.

A run folder is ``logs/<save_dir>/<time>``: its options, its log, its results.
"""

from __future__ import annotations

import csv
import errno
import glob
import json
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from progeo.errors import ProgeoError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

RESULTS = "results.json"
CONFIG = "config.yaml"
REPORT = "report.html"


class NotAFileError(ProgeoError, OSError):
    """What should be read is no regular file: a pipe would be waited for, a device may never end."""

    def __str__(self) -> str:
        """Say what it is."""
        return f"{self.filename} cannot be read: {self.strerror}."


def open_file(path: str | Path) -> BinaryIO:
    """Open a file to read its bytes. All readers of the package open through this, or call ``check_file`` before.

    Raises:
        NotAFileError: it is a pipe, a device or a folder.
        OSError: it cannot be opened.
    """
    # Opening a pipe waits for its other end without O_NONBLOCK, which regular files ignore and Windows lacks.
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise _refuse(path)
    return file


def read_bytes(path: str | Path, at_most: int = -1) -> bytes:
    """Return the content of a file, or its first bytes; raises as ``open_file`` does."""
    with open_file(path) as file:
        return file.read(at_most)


def read_text(path: str | Path) -> str:
    """Return the content of a file in UTF-8; raises as ``open_file`` does, and UnicodeDecodeError."""
    return read_bytes(path).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


def check_file(path: str | Path) -> None:
    """Raise, as ``open_file`` does, unless ``path`` is a regular file: for libraries that open files themselves."""
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise _refuse(path)


def check_folder(folder: str | Path) -> None:
    """Raise NotAFileError if anything below a folder is neither a folder nor a regular file."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            with suppress(FileNotFoundError):  # gone meanwhile, or a link that leads nowhere
                check_file(path)


def _refuse(path: str | Path) -> NotAFileError:
    return NotAFileError(errno.EINVAL, "it is no regular file (a pipe, a device or a folder)", str(path))


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
        raise ProgeoError(f"Cannot write {path}: {error.strerror or error}{kept}. Please {_advise(error)}.") from error
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
        with _claim(temporary):
            _remove_stale(path)
            yield temporary
            if path.exists():
                path.rmdir()
            temporary.replace(path)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        reason, advice = error.strerror or error, _advise(error)
        raise ProgeoError(f"Cannot write {path}: {reason}{place}. Please {advice}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Let no other run work in a folder meanwhile; where the system has no locks, nothing is held.

    Raises:
        ProgeoError: another run works in it.
    """
    with _claim(folder) as is_claimed:
        if is_claimed is False:
            raise ProgeoError(f"Another run works in {folder} at this moment: wait for its end, or stop it first.")
        yield


@contextmanager
def _claim(folder: Path) -> Iterator[bool | None]:
    """Hold a lock on a folder, and say whether that was possible: not where another has it; None without locks.

    The lock goes with the process, so that a folder which can be locked was left by a run that is gone.
    """
    if fcntl is None:
        yield None
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        is_claimed: bool | None = True
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_claimed = False
        except OSError:  # some network file systems
            is_claimed = None
        yield is_claimed
    finally:
        os.close(handle)


def _remove_stale(path: Path) -> None:
    """Remove what killed runs have left of their folders for ``path``."""
    for folder in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        is_ours = re.fullmatch(r"[0-9a-f]{8}", folder.name.removesuffix(".tmp").rpartition(".")[2])
        if is_ours and folder.is_dir() and not folder.is_symlink():
            with suppress(OSError), _claim(folder) as is_stale:
                if is_stale:
                    shutil.rmtree(folder)


def _advise(error: OSError) -> str:
    """Return what to do about a file that cannot be written; Polars says only in words that a disk is full."""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
    return "free some space and run the same command again" if is_full else "check the place, and who may write there"


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write results as indented JSON."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_csv(path: Path, rows: list[dict[str, float]]) -> None:
    """Write a table of figures, whose columns are the keys of all rows; what a row lacks stays empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        writer.writerows(rows)


def create_run_folder(save_dir: str, logs: str | Path = "logs") -> Path:
    """Create and return a folder of its own for a run that starts now."""
    time = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for attempt in range(1, 1000):
        folder = Path(logs) / save_dir / (time if attempt == 1 else f"{time}_{attempt}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue  # two runs started in the same second
        except OSError as error:
            raise ProgeoError(
                f"Cannot create the run folder {folder}: {error.strerror}. Start where you may write."
            ) from error
    raise ProgeoError(f"Cannot create a run folder below {Path(logs) / save_dir}.")
