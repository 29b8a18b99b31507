"""From photos to descriptors: batched by size, on any device."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from progeo.console import progress_bar
from progeo.devices import copy_to
from progeo.pixels.decoding import read_image
from progeo.pixels.prefetch import pad_images, read_ahead

Key = TypeVar("Key")


class Preprocesses(Protocol):
    """How a model wants its images: its training size and normalisation."""

    def resize(self, image: torch.Tensor) -> torch.Tensor:
        """Bring an image (3, H, W) to the size that the network wants."""

    def normalize(self, images: torch.Tensor) -> torch.Tensor:
        """Normalise images (B, 3, H, W) in [0, 1]."""


class DescribesImages(Protocol):
    """A network that turns normalised images (B, 3, H, W) into descriptors (B, D)."""

    fc_output_dim: int

    @property
    def preprocessing(self) -> Preprocesses:
        """How this network wants its images."""

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the descriptors of normalised images."""


def extract_descriptors(
    network: DescribesImages,
    paths: Sequence[str],
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 16,
    resize: bool = False,
    num_workers: int | None = None,
    description: str | None = None,
) -> npt.NDArray[np.float32]:
    """Describe photos with a network in eval mode.

    Photos of one size share a batch, whatever their order, so that folders of mixed sizes run nearly as fast as
    uniform ones.

    Args:
        network: the model, already on ``device`` and in eval mode.
        paths: image files.
        device: where the model is.
        batch_size: images per forward pass.
        resize: bring the shorter side to the model's ``image_size`` (aspect ratio kept) instead of native size. Models
            that take only one size need it.
        num_workers: reading threads.
        description: text of the progress bar; without it none is shown.

    Returns:
        float32 (N, D), in the order of ``paths``.

    Raises:
        ProgeoError: an image cannot be read; it is named.
    """
    with progress_bar(disable=description is None) as progress:
        task = progress.add_task(description or "", total=len(paths))
        return describe_paths(
            network,
            paths,
            device=device,
            batch_size=batch_size,
            resize=resize,
            num_workers=num_workers,
            advance=lambda images: progress.advance(task, images),
        )


def describe_paths(
    network: DescribesImages,
    paths: Sequence[str],
    *,
    device: torch.device | str,
    batch_size: int,
    resize: bool,
    num_workers: int | None,
    advance: Callable[[int], None],
    shorter_side: int | None = None,
) -> npt.NDArray[np.float32]:
    """Describe photos like ``extract_descriptors``, telling ``advance`` how many are done after each batch.

    ``shorter_side`` shrinks photos with a longer one when they are read, before anything else.
    """
    descriptors = np.empty((len(paths), network.fc_output_dim), dtype=np.float32)

    def read(item: tuple[int, str]) -> tuple[int, torch.Tensor]:
        index, path = item
        image = read_image(path, shorter_side)
        return index, network.preprocessing.resize(image) if resize else image

    images = read_ahead(read, enumerate(paths), num_workers=num_workers, ahead=4 * batch_size)
    for indices, batch in describe_images(network, images, device=device, batch_size=batch_size):
        descriptors[indices] = batch
        advance(len(indices))
    return descriptors


def describe_images(
    network: DescribesImages,
    images: Iterable[tuple[Key, torch.Tensor]],
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 16,
) -> Iterator[tuple[list[Key], npt.NDArray[np.float32]]]:
    """Describe images of any sizes, those of one size together; each comes with a key to know it again by.

    Args:
        network: the model, already on ``device`` and in eval mode.
        images: pairs of a key and an image, uint8 (3, H, W).
        device: where the model is.
        batch_size: images per forward pass.

    Yields:
        The keys of a batch and its descriptors, float32 (B, D). Batches come as they fill, not in the order given.
    """
    waiting: dict[tuple[int, ...], list[tuple[Key, torch.Tensor]]] = defaultdict(list)
    most_waiting = 16 * batch_size

    @torch.inference_mode()
    def describe(shape: tuple[int, ...]) -> tuple[list[Key], npt.NDArray[np.float32]]:
        keys, pile = zip(*waiting.pop(shape), strict=True)
        batch, _ = pad_images(list(pile), pin_memory=torch.device(device).type == "cuda")
        batch = copy_to(batch, device).float().div_(255)
        return list(keys), network(network.preprocessing.normalize(batch)).float().cpu().numpy()

    for key, image in images:
        shape = tuple(image.shape)
        waiting[shape].append((key, image))
        # With many different sizes the largest pile goes before it is full, so that memory stays bounded.
        if sum(map(len, waiting.values())) >= most_waiting:
            yield describe(max(waiting, key=lambda other: len(waiting[other])))
        elif len(waiting[shape]) == batch_size:
            yield describe(shape)
    for shape in list(waiting):
        yield describe(shape)
