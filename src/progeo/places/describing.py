"""From photo files to descriptors and thumbnails."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from progeo.cli.options import PlaceOptions
from progeo.console import progress_bar
from progeo.devices import choose_device
from progeo.errors import ProgeoError
from progeo.models.encoder import describe_images
from progeo.models.network import PlaceNetwork
from progeo.pixels.decoding import read_image
from progeo.pixels.prefetch import read_ahead

Descriptors = NDArray[np.float32]
Item = TypeVar("Item")
Key = TypeVar("Key")
Result = TypeVar("Result")

THUMBNAIL_SIDE = 320
THUMBNAIL_QUALITY = 80


class DescribingSettings(TypedDict, total=False):
    """How photos are described: what may be said when a database is opened."""

    device: str
    """cpu, cuda, mps or auto; cpu if it is not given."""
    batch_size: int
    """Images per forward pass, 16 if not given."""
    num_workers: int | None
    """Threads that read photos; None takes one per core, at most eight."""
    show_progress: bool
    """Whether there are progress bars."""


@dataclass(frozen=True)
class Describer:
    """A network and how it is run."""

    network: PlaceNetwork
    """In evaluation mode, on ``device``."""
    faster: PlaceNetwork
    """What gives the same descriptors in less time."""
    device: torch.device
    batch_size: int
    num_workers: int | None
    show_progress: bool

    @classmethod
    def create(cls, network: PlaceNetwork, settings: DescribingSettings) -> Describer:
        """Return what runs a network as the settings say."""
        device = choose_device(settings.get("device", "cpu"))
        network = network.to(device)
        return cls(
            network,
            network.fold(),
            device,
            settings.get("batch_size", 16),
            settings.get("num_workers"),
            settings.get("show_progress", False),
        )

    def take(self, network: PlaceNetwork) -> Describer:
        """Return one that runs another network in the same way."""
        network = network.to(self.device)
        return replace(self, network=network, faster=network.fold())

    def resize(self, image: torch.Tensor) -> torch.Tensor:
        """Bring an image (3, H, W) to the size of the network, with its aspect ratio kept."""
        return self.network.preprocessing.resize(image)

    def read(self, path: str | Path) -> torch.Tensor:
        """Read an image as uint8 (3, H, W), with no more pixels than network and thumbnail need.

        Raises:
            ProgeoError: it cannot be read.
        """
        return read_large(path, self.network.preprocessing.image_size)

    def read_ahead(self, read: Callable[[Item], Result], items: Iterable[Item], count: int) -> Iterator[Result]:
        """Yield ``read(item)`` for each item in order, read early in threads, with a progress bar if wished."""
        with progress_bar(disable=not self.show_progress) as progress:
            results = read_ahead(read, items, num_workers=self.num_workers, ahead=4 * self.batch_size)
            yield from progress.track(results, total=count, description="Describing")

    def describe(self, images: Iterable[tuple[Key, torch.Tensor]]) -> Iterator[tuple[list[Key], Descriptors]]:
        """Describe images of the network's size, as ``progeo.models.encoder.describe_images``."""
        return describe_images(self.faster, images, device=self.device, batch_size=self.batch_size)

    def describe_all(self, images: Sequence[torch.Tensor]) -> Descriptors:
        """Describe images, uint8 (3, H, W) of any size; return float32 (Q, D) in their order."""
        descriptors = np.empty((len(images), self.network.fc_output_dim), dtype=np.float32)
        resized = ((number, self.resize(image)) for number, image in enumerate(images))
        for numbers, batch in self.describe(resized):
            descriptors[numbers] = batch
        return descriptors

    def describe_photos(self, paths: Sequence[str]) -> tuple[dict[str, Descriptors], dict[str, str]]:
        """Describe photo files, whatever else lies among them.

        Returns:
            The descriptor, float32 (D,), of each path that can be read, and for each of the others why not.
        """
        described: dict[str, Descriptors] = {}
        failures: dict[str, str] = {}

        def read(path: str) -> tuple[str, torch.Tensor | ProgeoError]:
            try:
                return path, self.resize(self.read(path))
            except ProgeoError as error:
                return path, error

        def images() -> Iterator[tuple[str, torch.Tensor]]:
            for path, image in self.read_ahead(read, paths, len(paths)):
                if isinstance(image, ProgeoError):
                    failures[path] = str(image)
                else:
                    yield path, image

        for batch, descriptors in self.describe(images()):
            described.update(zip(batch, descriptors, strict=True))
        return {path: described[path] for path in paths if path in described}, failures


def describing_settings(options: PlaceOptions) -> DescribingSettings:
    """Return how a command's options say that photos are described."""
    return {
        "device": options.device,
        "batch_size": options.infer_batch_size,
        "num_workers": options.num_workers,
        "show_progress": True,
    }


def read_large(path: str | Path, image_size: int) -> torch.Tensor:
    """Read an image as uint8 (3, H, W), of a large one no more pixels than models of this size and thumbnails need."""
    # Twice the size, so that the last step is the model's own way of resizing.
    return read_image(path, shorter_side=max(2 * image_size, THUMBNAIL_SIDE))


def make_thumbnail(image: torch.Tensor) -> bytes:
    """Return an image, uint8 (3, H, W), as a small JPEG."""
    thumbnail = Image.fromarray(image.permute(1, 2, 0).numpy())
    thumbnail.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    jpeg = io.BytesIO()
    thumbnail.save(jpeg, format="JPEG", quality=THUMBNAIL_QUALITY)
    return jpeg.getvalue()
