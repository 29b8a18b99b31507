"""Image features of the training set, for stage 1: extracted once, kept in a file that is mapped into memory."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms.v2 import functional as transforms

from progeo.console import logger, progress_bar
from progeo.errors import ProgeoError
from progeo.files import atomic_write
from progeo.models.folding import fold_batch_norms
from progeo.models.text import ImageTextModel
from progeo.pixels.decoding import read_image
from progeo.pixels.prefetch import read_ahead

FEATURES = "image_features.npy"
IMAGES_AT_ONCE = 32
BATCHES_BETWEEN_NOTES = 16
SIZES_COMPARED = 100

Features = npt.NDArray[np.float16]


@torch.inference_mode()
def extract_image_features(
    folder: Path,
    paths: Sequence[str],
    model: ImageTextModel,
    model_fingerprint: str,
    *,
    device: torch.device,
    num_workers: int | None = None,
    max_unreadable_images: int = 100,
) -> Features:
    """Return the image features of photos, from the file in ``folder`` as far as it holds them.

    The file is float16, ``image_features.npy``; beside it stands what it belongs to and how far it has come, so that
    an extraction that was stopped goes on, and a file of other images or of another model is refused. Photos that could
    not be read are tried again. Photos are squashed to a square, as published.

    Args:
        folder: where the file is, or will be.
        paths: image files.
        model: its image tower describes them.
        model_fingerprint: tells this model's features from those of others.
        device: where the model is.
        num_workers: reading threads.
        max_unreadable_images: photos that cannot be read are named and have features NaN; more than these are an error.

    Returns:
        float16 (I, D), mapped from the file, read-only.

    Raises:
        ProgeoError: the file belongs to other images or another model, or is damaged, or too many photos are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, note_path = folder / FEATURES, folder / f"{FEATURES}.json"
    shape = (len(paths), model.text.dimension)
    note = {
        "model": model_fingerprint,
        "images": _fingerprint_paths(paths),
        "count": len(paths),
        "sizes": _sample_sizes(paths),
    }
    done = _read_done(path, note_path, note, shape)
    if not done:
        note_path.unlink(missing_ok=True)  # that of a file which is gone would call rows of the new one done
        _create_file(path, shape)
    features = np.load(path, mmap_mode="r")
    missing = np.concatenate([np.flatnonzero(np.isnan(features[:done, 0])), np.arange(done, len(paths))])
    if len(missing):
        features = np.load(path, mmap_mode="r+")
        faster = fold_batch_norms(model, model.preprocessing, lambda towers, images: towers.image_features(images))
        size = [model.preprocessing.image_size] * 2

        def read(photo: str) -> torch.Tensor | None:
            try:
                square: torch.Tensor = transforms.resize(read_image(photo), size, antialias=True)
                return square
            except ProgeoError as error:
                logger.warning(f"Skipped: {error}")
                return None

        images = read_ahead(read, [paths[row] for row in missing], num_workers=num_workers, ahead=4 * IMAGES_AT_ONCE)
        with progress_bar() as progress:
            task = progress.add_task("Image features", total=len(paths), completed=len(paths) - len(missing))
            for number, first in enumerate(range(0, len(missing), IMAGES_AT_ONCE), start=1):
                rows, batch = missing[first : first + IMAGES_AT_ONCE], list(islice(images, IMAGES_AT_ONCE))
                features[rows] = np.nan
                readable = [index for index, image in enumerate(batch) if image is not None]
                if readable:
                    pixels = torch.stack([image for image in batch if image is not None]).to(device).float().div_(255)
                    described = faster.image_features(model.preprocessing.normalize(pixels))
                    features[rows[readable]] = described.half().cpu().numpy()
                done = max(done, int(rows[-1]) + 1)
                progress.advance(task, len(batch))
                if done == len(paths) or number % BATCHES_BETWEEN_NOTES == 0:
                    _write_note(features, note_path, note | {"done": done})
        _check_unreadable(features, max_unreadable_images)
    return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]


def _read_done(path: Path, note_path: Path, note: dict[str, Any], shape: tuple[int, int]) -> int:
    """Return how many rows of the file are there; 0 where there is no file."""
    if not path.is_file() or not note_path.is_file():
        return 0
    remedy = f"Remove {path}, and it is made anew (or give another `cache_feature_folder`)."
    try:
        written = json.loads(note_path.read_text(encoding="utf-8"))
        done = int(written["done"])
        different = [name for name in ("model", "images", "count") if written[name] != note[name]]
        # A few photos may have been repaired since; another set of photos has most of them otherwise.
        if not different and np.not_equal(written["sizes"], note["sizes"]).mean() > 0.5:
            different.append("sizes")
    except (KeyError, TypeError, ValueError) as error:
        raise ProgeoError(f"The note {note_path} of the image features is damaged ({error}). {remedy}") from error
    if "model" in different:
        raise ProgeoError(f"The image features in {path} are those of another backbone or other weights. {remedy}")
    if different:
        raise ProgeoError(
            f"The image features in {path} are those of other photos ({written['count']}, now {note['count']}): the "
            f"training set or its classes have changed. {remedy}"
        )
    try:
        found = np.load(path, mmap_mode="r")
    except (ValueError, OSError) as error:
        raise ProgeoError(f"The image features in {path} are cut short or damaged ({error}). {remedy}") from error
    if found.shape != shape or found.dtype != np.float16:
        raise ProgeoError(f"The image features in {path} are {found.dtype} {found.shape}, not {shape}. {remedy}")
    return done


def _create_file(path: Path, shape: tuple[int, int]) -> None:
    """Create the file at its whole size, so that a full disk is an error now and not a crash later."""
    try:
        np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        gigabytes = shape[0] * shape[1] * 2 / 1e9
        raise ProgeoError(
            f"Cannot write the image features, {gigabytes:.2g} GB, to {path}: {error.strerror or error}. Free some "
            "space, or give another `cache_feature_folder`."
        ) from error


def _write_note(features: Features, note_path: Path, note: dict[str, Any]) -> None:
    """Say how far the file has come, once that is on the disk."""
    assert isinstance(features, np.memmap)
    features.flush()
    with atomic_write(note_path) as temporary:
        temporary.write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")


def _check_unreadable(features: Features, most: int) -> None:
    unreadable = int(np.isnan(features[:, 0]).sum())
    if unreadable > most:
        raise ProgeoError(
            f"{unreadable} training images cannot be read, more than `max_unreadable_images` {most} allows; they are "
            "named above."
        )


def _sample_sizes(paths: Sequence[str]) -> list[int]:
    """Return the sizes in bytes of some photos, spread over all; -1 for one that is not there."""
    photos = map(Path, paths[:: -(-len(paths) // SIZES_COMPARED)])
    return [photo.stat().st_size if photo.exists() else -1 for photo in photos]


def _fingerprint_paths(paths: Sequence[str]) -> str:
    """Return a digest of the photos' names and order, wherever their folder stands."""
    root = len(os.path.commonpath(paths)) if len(paths) > 1 else 0
    return hashlib.sha256("\n".join(path[root:] for path in paths).encode(errors="surrogateescape")).hexdigest()
