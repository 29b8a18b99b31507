"""Which images make up each training batch, and reading them: each draw follows from seed, epoch and step alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import polars as pl
import torch

from progeo.console import logger
from progeo.errors import ProgeoError
from progeo.pixels.prefetch import read_ahead
from progeo.pixels.recipe import Preprocessing, read_pixels
from progeo.training.groups import Group


def check_batch_size(batch_size: int, images_per_class: int) -> None:
    """Raise ProgeoError if ``batch_size`` is no multiple of ``images_per_class``."""
    if batch_size % images_per_class:
        raise ProgeoError(
            f"`batch_size` {batch_size} is no multiple of `images_per_class` {images_per_class}: "
            f"use for example `batch_size` {max(1, batch_size // images_per_class) * images_per_class}."
        )


def draw_batches(
    group: Group, *, batch_size: int, images_per_class: int, seed: int, epoch: int
) -> Iterator[list[tuple[int, int]]]:
    """Yield batches without end: pairs of class index and position in ``group.images``.

    Classes come in random order, each once before any comes again; of each, ``images_per_class`` different images are
    drawn (the same ones again where a class has fewer). The published code draws one.

    Raises:
        ProgeoError: ``batch_size`` is no multiple of ``images_per_class``.
    """
    check_batch_size(batch_size, images_per_class)
    generator = np.random.default_rng((seed, epoch))

    def draw_classes() -> Iterator[int]:
        while True:
            yield from generator.permutation(len(group)).tolist()

    classes = draw_classes()
    while True:
        batch: list[tuple[int, int]] = []
        for class_index in islice(classes, batch_size // images_per_class):
            start, end = group.offsets[class_index], group.offsets[class_index + 1]
            if images_per_class == 1:
                positions = [int(generator.integers(start, end))]
            else:
                order = generator.permutation(np.arange(start, end))
                positions = np.resize(order, images_per_class).tolist()
            batch.extend((class_index, position) for position in positions)
        yield batch


@dataclass
class Batch:
    """Training images as read.

    Attributes:
        images: uint8 (B, 3, H, W), each in the upper left corner of its frame.
        sizes: int64 (B, 2), height and width of each image.
        labels: int64 (B,), index of each image's class in the group.
    """

    images: torch.Tensor
    sizes: torch.Tensor
    labels: torch.Tensor


class BatchReader:
    """Reads training batches, and replaces images that cannot be read by others of their class.

    The unreadable images are named as they are met; more than ``max_unreadable_images`` stop the training.
    """

    def __init__(
        self,
        table: pl.DataFrame,
        *,
        image_size: int,
        max_unreadable_images: int,
        batch_size: int = 32,
        num_workers: int | None = None,
        pin_memory: bool = False,
    ) -> None:
        """Prepare to read images of ``table``, none of them larger than the crops of ``image_size`` pixels need.

        ``pin_memory`` is for batches that are copied to a CUDA device.
        """
        self._path_column = table["path"]
        self._preprocessing = Preprocessing(image_size, native=True, native_limit=image_size)
        self._max_unreadable_images = max_unreadable_images
        self._batch_size = batch_size
        self._num_workers = num_workers
        self._pin_memory = pin_memory
        self._lock = threading.Lock()
        self.unreadable: dict[str, str] = {}

    def read_batches(self, group: Group, batches: Iterator[list[tuple[int, int]]]) -> Iterator[Batch]:
        """Read batches as drawn by ``draw_batches``, ahead of the training step that uses them."""
        paths = self._path_column.gather(group.images)
        lengths: list[int] = []

        def flatten() -> Iterator[tuple[int, int]]:
            for batch in batches:
                lengths.append(len(batch))
                yield from batch

        def read(sample: tuple[int, int]) -> tuple[torch.Tensor, int]:
            return self._read_sample(paths, group, *sample), sample[0]

        samples = read_ahead(read, flatten(), num_workers=self._num_workers, ahead=2 * self._batch_size)
        while sample := next(samples, None):
            batch = [sample, *islice(samples, lengths.pop(0) - 1)]
            images, sizes = pad_images([image for image, _ in batch], self._pin_memory)
            yield Batch(images, sizes, torch.tensor([label for _, label in batch]))

    def _read_sample(self, paths: pl.Series, group: Group, class_index: int, position: int) -> torch.Tensor:
        """Read an image of a class, or the next one of its class that can be read."""
        start, end = int(group.offsets[class_index]), int(group.offsets[class_index + 1])
        for candidate in [*range(position, end), *range(start, position)]:
            path = paths[candidate]
            if path in self.unreadable:
                continue
            try:
                return torch.from_numpy(read_pixels(path, self._preprocessing)).permute(2, 0, 1)
            except ProgeoError as error:
                self.note_unreadable(path, str(error))
        raise ProgeoError(
            f"None of the {end - start} images of the class at {group.classes[class_index].tolist()} can be read, "
            f"for example: {self.unreadable[paths[position]]}"
        )

    def note_unreadable(self, path: str, reason: str) -> None:
        """Name an image that cannot be read, once.

        Raises:
            ProgeoError: there are too many of them.
        """
        with self._lock:
            if path in self.unreadable:
                return
            self.unreadable[path] = reason
            logger.warning(f"Skipped: {reason}")
            if len(self.unreadable) > self._max_unreadable_images:
                raise ProgeoError(
                    f"{len(self.unreadable)} training images cannot be read, more than `max_unreadable_images` "
                    f"{self._max_unreadable_images} allows; the last one: {reason}"
                )


def pad_images(images: Sequence[torch.Tensor], pin_memory: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Put images of any size into one batch.

    Args:
        images: uint8 tensors (3, H, W).
        pin_memory: put it into pinned memory, from which CUDA copies while the computing goes on.

    Returns:
        uint8 (B, 3, H, W) with each image in the upper left corner, and the sizes, int64 (B, 2), height and width.
    """
    sizes = torch.tensor([image.shape[1:] for image in images])
    shape = (len(images), 3, *sizes.amax(dim=0).tolist())
    # Channels last, as decoded images are, so that nothing is turned round.
    batch = torch.empty(shape, dtype=torch.uint8, pin_memory=pin_memory, memory_format=torch.channels_last)
    if (sizes != sizes[0]).any():
        batch.zero_()
    for frame, image in zip(batch, images, strict=True):
        frame[:, : image.shape[1], : image.shape[2]] = image
    return batch, sizes
