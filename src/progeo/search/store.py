"""Descriptors on disk in half precision, to go on after a kill: ``DescriptorFolder`` and ``FeatureFile``.

A folder is read once from front to back, and may be larger than memory: an evaluation. Each of its chunks says what it
was made from; one that is stale or damaged is made anew. A file is mapped into memory and read in any order, epoch
after epoch: training. It is refused where it belongs to other photos or another model, because making it takes hours.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from progeo import remote
from progeo.console import format_rounded
from progeo.errors import ProgeoError
from progeo.files import atomic_write, read_text, write_json
from progeo.plain import parse_json

FORMAT_VERSION = 1
MAX_CHUNK_IMAGES = 1024
MAX_CHUNK_BYTES = 2**28
HALF_BYTES = 2

ROWS_AT_ONCE = 512
SIZES_COMPARED = 100

Encode = Callable[[Sequence[str]], npt.NDArray[np.float32]]
Half = npt.NDArray[np.float16]


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

    def read_chunks(self, part: str, paths: Sequence[str], encode: Encode) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the descriptors of ``paths`` in order, chunk by chunk: float32 (n, D), rounded to half precision.

        Args:
            part: what the photos are, ``database`` or ``queries``.
            paths: image files.
            encode: gives the descriptors (n, D) of some of the paths; called for chunks that are not there yet.

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
                half = _to_half(encode(some), some)
                self._write(path, key, half)
            yield half.astype(np.float32)

    def _make_key(self, paths: Sequence[str]) -> str:
        """Return a hash of what a chunk of these photos depends on: the model, and path, size and time of each file."""
        digest = hashlib.sha256(f"{FORMAT_VERSION} {self.model}".encode())
        for path in paths:
            try:
                digest.update("\n{} {} {}".format(*remote.describe(path)).encode())
            except OSError as error:
                raise ProgeoError(f"The image {path} cannot be read: {error.strerror}.") from error
        return digest.hexdigest()

    def _read(self, path: Path, key: str, images: int) -> Half | None:
        """Return a finished chunk, or None where there is none, or one that is stale or damaged, which is counted."""
        if not path.is_file():
            return None
        half: Half
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

    def _write(self, path: Path, key: str, half: Half) -> None:
        content = save({"descriptors": half}, metadata={"key": key, "checksum": _checksum(half)})
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)


@dataclass(frozen=True)
class FeatureFile:
    """The descriptors of one model for one list of photos, in one file of NumPy.

    Beside it stands a note of what it belongs to and how many rows are there, so that work that was stopped goes on.

    Attributes:
        path: the file, ``….npy``; the note is ``….npy.json``.
        model: the fingerprint of what the descriptors depend on beside the photos.
        dimension: D.
        remedy: where else the file could stand, for messages.
    """

    path: Path
    model: str
    dimension: int
    remedy: str = "choose another folder"

    @property
    def _note_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def fill(self, paths: Sequence[str], encode: Encode, advance: Callable[[int], None] = lambda rows: None) -> Half:
        """Return the descriptors of ``paths`` in order, read-only: float16 (N, D), mapped from the file.

        Args:
            paths: image files.
            encode: gives the descriptors (n, D) of some of the paths, NaN for those that cannot be read; called for
                those that are not there yet. Photos that could not be read are tried again.
            advance: told how many more rows are done, those from before first.

        Raises:
            ProgeoError: the file belongs to other photos or another model, is damaged, or does not fit on the disk.
        """
        note = {"model": self.model, "images": _hash_names(paths), "count": len(paths), "sizes": _sample_sizes(paths)}
        shape = (len(paths), self.dimension)
        done = self._read_done(note, shape)
        if not done:
            self._note_path.unlink(missing_ok=True)  # that of a file which is gone would call rows of the new one done
            self._create(shape)
        features = np.load(self.path, mmap_mode="r")
        missing = np.concatenate([np.flatnonzero(np.isnan(features[:done, 0])), np.arange(done, len(paths))])
        advance(len(paths) - len(missing))
        if len(missing):
            features = np.load(self.path, mmap_mode="r+")
        for start in range(0, len(missing), ROWS_AT_ONCE):
            rows = missing[start : start + ROWS_AT_ONCE]
            features[rows] = encode([paths[row] for row in rows])
            features.flush()
            done = max(done, int(rows[-1]) + 1)
            write_json(self._note_path, note | {"done": done})
            advance(len(rows))
        return np.load(self.path, mmap_mode="r")  # type: ignore[no-any-return]

    def _read_done(self, note: dict[str, Any], shape: tuple[int, int]) -> int:
        """Return how many rows of the file are there; 0 where there is no file."""
        if not self.path.is_file() or not self._note_path.is_file():
            return 0
        remedy = f"Remove {self.path}, and it is made anew (or {self.remedy})."
        try:
            written = parse_json(read_text(self._note_path))
            done = int(written["done"])
            different = [name for name in ("model", "images", "count") if written[name] != note[name]]
            # A few photos may have been repaired since; another set of photos has most of them otherwise.
            if not different and np.not_equal(written["sizes"], note["sizes"]).mean() > 0.5:
                different.append("sizes")
        except (KeyError, TypeError, ValueError) as error:
            raise ProgeoError(f"The note {self._note_path} is damaged ({error}). {remedy}") from error
        if "model" in different:
            raise ProgeoError(f"The features in {self.path} are those of another backbone or other weights. {remedy}")
        if different:
            raise ProgeoError(
                f"The features in {self.path} are those of other photos ({written['count']}, now {note['count']}): "
                f"the photos or their classes have changed. {remedy}"
            )
        try:
            found = np.load(self.path, mmap_mode="r")
        except (ValueError, OSError) as error:
            raise ProgeoError(f"The features in {self.path} are cut short or damaged ({error}). {remedy}") from error
        if found.shape != shape or found.dtype != np.float16:
            raise ProgeoError(f"The features in {self.path} are {found.dtype} {found.shape}, not {shape}. {remedy}")
        return done

    def _create(self, shape: tuple[int, int]) -> None:
        """Create the file at its whole size, so that a full disk is an error now and not a crash later."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            np.lib.format.open_memmap(self.path, mode="w+", dtype=np.float16, shape=shape)
            if hasattr(os, "posix_fallocate"):
                with self.path.open("r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, self.path.stat().st_size)
        except OSError as error:
            gigabytes = shape[0] * shape[1] * HALF_BYTES / 1e9
            raise ProgeoError(
                f"Cannot write the features, {format_rounded(gigabytes)} GB, to {self.path}: "
                f"{error.strerror or error}. Free some space, or {self.remedy}."
            ) from error


def _sample_sizes(paths: Sequence[str]) -> list[int]:
    """Return the sizes in bytes of some photos, spread over all; -1 for one that is not there."""
    photos = map(Path, paths[:: -(-len(paths) // SIZES_COMPARED)])
    return [photo.stat().st_size if photo.exists() else -1 for photo in photos]


def _hash_names(paths: Sequence[str]) -> str:
    """Return a digest of the photos' names and order, wherever their folder stands."""
    root = len(os.path.commonpath(paths)) if len(paths) > 1 else 0
    return hashlib.sha256("\n".join(path[root:] for path in paths).encode(errors="surrogateescape")).hexdigest()


def _to_half(descriptors: npt.NDArray[np.float32], paths: Sequence[str]) -> Half:
    with np.errstate(over="ignore"):
        half = descriptors.astype(np.float16)
    bad = np.flatnonzero(~np.isfinite(half).all(axis=1))
    if len(bad):
        raise ProgeoError(
            f"The descriptor of {paths[bad[0]]} holds NaN, infinity or values beyond half precision (65504). Try "
            "without `descriptors_folder`, or another model."
        )
    return half


def _checksum(half: Half) -> str:
    return f"{zlib.crc32(half.tobytes()):08x}"
