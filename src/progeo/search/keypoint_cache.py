"""Keypoints of photo files, computed when they are asked for and kept: some in memory, more on disk, both bounded."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Lock

from progeo import remote
from progeo.console import logger
from progeo.files import atomic_write, read_bytes
from progeo.search.keypoints import DamagedKeypointsError, Keypoints
from progeo.search.matching import Method

FOLDER = "keypoints"
MOST_BYTES_IN_MEMORY = 2**28
MOST_BYTES_ON_DISK = 2**31
"""About 30,000 photos of 62 kB."""
FULL_UNTIL = 0.8
"""Share of the bound down to which a full cache is emptied, what was used longest ago first."""


def identify_file(path: str) -> str:
    """Return what tells a photo file from any other, and from what it was before it changed.

    Raises:
        OSError: there is no such file.
        ProgeoError: there is no such object.
    """
    where, size, time = remote.describe(path)
    return f"{where}\n{size} {time}"


class KeypointCache:
    """Keypoints by what they depend on: the method, and the photo. Safe in threads."""

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        most_bytes: int = MOST_BYTES_ON_DISK,
        most_bytes_in_memory: int = MOST_BYTES_IN_MEMORY,
    ) -> None:
        """Keep them in a folder below ``folder``, in files of ``most_bytes`` together; without it only in memory."""
        self._folder = None if folder is None else Path(folder) / FOLDER
        self._most_bytes, self._most_bytes_in_memory = most_bytes, most_bytes_in_memory
        self._memory: OrderedDict[str, Keypoints] = OrderedDict()
        self._bytes_in_memory = 0
        self._bytes_on_disk: int | None = None
        self._lock = Lock()

    def get(self, method: Method, photo: str, make: Callable[[], Keypoints]) -> Keypoints:
        """Return the keypoints of a photo, made where they are not here, or not any more.

        Args:
            method: that made them.
            photo: what they depend on beside the method; ``identify_file`` gives it for a file.
            make: makes them.
        """
        key = hashlib.sha256(f"{method.key}\n{photo}".encode(errors="surrogateescape")).hexdigest()
        with self._lock:
            if key in self._memory:
                self._memory.move_to_end(key)
                return self._memory[key]
        found = self._read(key)
        if found is None:
            found = make()
            self._write(key, found.to_bytes())
        with self._lock:
            if key not in self._memory:
                self._memory[key] = found
                self._bytes_in_memory += found.nbytes
            while self._bytes_in_memory > self._most_bytes_in_memory:
                _, oldest = self._memory.popitem(last=False)
                self._bytes_in_memory -= oldest.nbytes
        return found

    def _read(self, key: str) -> Keypoints | None:
        """Return what the disk has, None where it has nothing, or something damaged."""
        if self._folder is None:
            return None
        path = self._place(self._folder, key)
        try:
            found = Keypoints.from_bytes(read_bytes(path))
            os.utime(path)  # used now: it goes last when the cache is full
        except (OSError, DamagedKeypointsError):
            return None
        return found

    def _write(self, key: str, content: bytes) -> None:
        """Keep a file. Where that cannot be, the keypoints are made again next time."""
        if self._folder is None:
            return
        path = self._place(self._folder, key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as temporary:
                temporary.write_bytes(content)
            with self._lock:
                if self._bytes_on_disk is None:
                    self._bytes_on_disk = sum(size for _, size, _ in _list_files(self._folder))
                else:
                    self._bytes_on_disk += len(content)
                if self._bytes_on_disk > self._most_bytes:
                    self._bytes_on_disk = _empty(self._folder, int(FULL_UNTIL * self._most_bytes))
        except OSError as error:
            logger.warning(f"Keypoints are not kept in {self._folder}: {error.strerror or error}")
            self._folder = None

    @staticmethod
    def _place(folder: Path, key: str) -> Path:
        return folder / key[:2] / f"{key[2:]}.safetensors"


def _list_files(folder: Path) -> list[tuple[float, int, Path]]:
    """Return time, size and path of the files of a cache; another process may remove some meanwhile."""
    files = []
    for path in folder.glob("*/*.safetensors"):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        files.append((status.st_mtime, status.st_size, path))
    return files


def _empty(folder: Path, most_bytes: int) -> int:
    """Remove the files used longest ago until the others take at most ``most_bytes``; return how many they take."""
    files = sorted(_list_files(folder))
    total = sum(size for _, size, _ in files)
    for _, size, path in files:
        if total <= most_bytes:
            break
        path.unlink(missing_ok=True)
        total -= size
    return total
