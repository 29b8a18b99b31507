"""Descriptors on disk in half precision, chunk by chunk: for databases larger than memory, and to go on after a kill.

Every chunk is a safetensors file that says what it was made from, so that a folder needs no list of its contents: a
chunk is used again when that still holds and its bytes are whole, and is made anew otherwise.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from progeo.errors import ProgeoError
from progeo.files import atomic_write

FORMAT_VERSION = 1
MAX_CHUNK_IMAGES = 1024
MAX_CHUNK_BYTES = 2**28
HALF_BYTES = 2

Describe = Callable[[Sequence[str]], npt.NDArray[np.float32]]


@dataclass
class DescriptorFolder:
    """The descriptors of one model for one data set, below ``folder``.

    Attributes:
        folder: where the chunks are; models and sets share it without mixing, each set of chunks has its own folder.
        model: what the descriptors depend on beside the photos: weights, preprocessing, resizing. ``fingerprint_model``
            gives it.
        dimension: D.
        reused: chunks taken from disk so far.
        replaced: chunks found stale or damaged so far, and made anew.
    """

    folder: Path
    model: str
    dimension: int
    reused: int = 0
    replaced: int = 0

    @property
    def chunk_images(self) -> int:
        """Images per chunk: few enough that a kill loses little and that one fits into memory many times."""
        return max(1, min(MAX_CHUNK_IMAGES, MAX_CHUNK_BYTES // (HALF_BYTES * self.dimension)))

    def read_chunks(self, part: str, paths: Sequence[str], describe: Describe) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the descriptors of ``paths`` in order, chunk by chunk: float32 (n, D), rounded to half precision.

        Args:
            part: what the photos are, ``database`` or ``queries``.
            paths: image files.
            describe: gives the descriptors (n, D) of some of the paths; called for chunks that are not there yet.

        Raises:
            ProgeoError: a chunk cannot be written, or a descriptor does not fit into half precision.
        """
        size = self.chunk_images
        digits = len(str(max(len(paths) - 1, 0) // size))
        for number, start in enumerate(range(0, len(paths), size)):
            some = paths[start : start + size]
            path = self.folder / part / f"{number:0{digits}d}.safetensors"
            key = self._make_key(some)
            half = self._read(path, key, len(some))
            if half is None:
                half = _to_half(describe(some), some)
                self._write(path, key, half)
            yield half.astype(np.float32)

    def _make_key(self, paths: Sequence[str]) -> str:
        """Return a hash of what a chunk of these photos depends on: the model, and path, size and time of each file."""
        digest = hashlib.sha256(f"{FORMAT_VERSION} {self.model}".encode())
        for path in paths:
            try:
                status = Path(path).stat()
            except OSError as error:
                raise ProgeoError(f"The image {path} cannot be read: {error.strerror}.") from error
            digest.update(f"\n{Path(path).absolute()} {status.st_size} {status.st_mtime_ns}".encode())
        return digest.hexdigest()

    def _read(self, path: Path, key: str, images: int) -> npt.NDArray[np.float16] | None:
        """Return a finished chunk, or None where there is none, or one that is stale or damaged, which is counted."""
        if not path.is_file():
            return None
        half: npt.NDArray[np.float16]
        try:
            with safe_open(path, framework="np") as file:
                card, half = file.metadata() or {}, file.get_tensor("descriptors")
        except (SafetensorError, OSError):
            card, half = {}, np.empty((0, 0), dtype=np.float16)
        if card.get("key") != key or half.shape != (images, self.dimension) or card.get("checksum") != _checksum(half):
            self.replaced += 1
            return None
        self.reused += 1
        return half

    def _write(self, path: Path, key: str, half: npt.NDArray[np.float16]) -> None:
        content = save({"descriptors": half}, metadata={"key": key, "checksum": _checksum(half)})
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)


def _to_half(descriptors: npt.NDArray[np.float32], paths: Sequence[str]) -> npt.NDArray[np.float16]:
    with np.errstate(over="ignore"):
        half = descriptors.astype(np.float16)
    bad = np.flatnonzero(~np.isfinite(half).all(axis=1))
    if len(bad):
        raise ProgeoError(
            f"The descriptor of {paths[bad[0]]} holds NaN, infinity or values beyond half precision (65504). Try "
            "without `descriptors_folder`, or another model."
        )
    return half


def _checksum(half: npt.NDArray[np.float16]) -> str:
    return f"{zlib.crc32(half.tobytes()):08x}"
