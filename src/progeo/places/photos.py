"""From photo files to what the place database keeps of them and what the model makes of them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from progeo.console import progress_bar
from progeo.descriptors import describe_images
from progeo.errors import ProgeoError
from progeo.images.decoding import read_image
from progeo.images.loading import read_ahead
from progeo.models.network import PlaceNetwork

Descriptors = NDArray[np.float32]

THUMBNAIL_SIDE = 320
THUMBNAIL_QUALITY = 80


def describe_photos(
    network: PlaceNetwork,
    paths: Sequence[str],
    *,
    device: torch.device,
    batch_size: int = 16,
    num_workers: int | None = None,
    description: str | None = None,
) -> tuple[dict[str, Descriptors], dict[str, str]]:
    """Describe photos, whatever else lies among them.

    Returns:
        The descriptor, float32 (D,), of each path that can be read, and for each of the others why not.
    """
    described: dict[str, Descriptors] = {}
    failures: dict[str, str] = {}
    with progress_bar(disable=description is None) as progress:
        task = progress.add_task(description or "", total=len(paths))

        def images() -> Iterator[tuple[str, torch.Tensor]]:
            read = partial(read_or_fail, network=network)
            readings = read_ahead(read, paths, num_workers=num_workers, ahead=4 * batch_size)
            for path, reading in zip(paths, readings, strict=True):
                progress.advance(task)
                if isinstance(reading, ProgeoError):
                    failures[path] = str(reading)
                else:
                    yield path, reading

        for batch, descriptors in describe_images(network, images(), device=device, batch_size=batch_size):
            described.update(zip(batch, descriptors, strict=True))
    return {path: described[path] for path in paths if path in described}, failures


def read_or_fail(path: str, network: PlaceNetwork) -> torch.Tensor | ProgeoError:
    """Read a photo for a network, uint8 (3, H, W), or return why that fails."""
    try:
        return network.preprocessing.resize(read_large(path, network.preprocessing.image_size))
    except ProgeoError as error:
        return error


def read_large(path: str | Path | BinaryIO, image_size: int, *, name: str | None = None) -> torch.Tensor:
    """Read an image as uint8 (3, H, W), of a large one no more pixels than models of this size and thumbnails need.

    ``name`` is what errors call the image; without it the path.
    """
    # Twice the size, so that the last step is the model's own way of resizing.
    return read_image(path, shorter_side=max(2 * image_size, THUMBNAIL_SIDE), name=name)


def hash_file(path: str) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def make_thumbnail(image: torch.Tensor) -> bytes:
    """Return an image, uint8 (3, H, W), as a small JPEG."""
    thumbnail = Image.fromarray(image.permute(1, 2, 0).numpy())
    thumbnail.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    jpeg = io.BytesIO()
    thumbnail.save(jpeg, format="JPEG", quality=THUMBNAIL_QUALITY)
    return jpeg.getvalue()
