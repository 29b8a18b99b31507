"""Describing a test set: in memory, or chunk by chunk through a folder of descriptors, and how fast it went."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from progeo.console import progress_bar
from progeo.models.encoder import DescribesImages, describe_paths
from progeo.search.store import DescriptorFolder


@dataclass
class Describer:
    """A model in eval mode on its device, and how photos are to go through it.

    Attributes:
        resize: bring photos to the model's size instead of their native one.
        description: what the progress bars speak of; without it none are shown.
        folder: where descriptors are kept and taken from; without it they are in memory, in one chunk.
        images: photos described so far; those taken from ``folder`` do not count.
        seconds: the time that took, reading them included.
    """

    network: DescribesImages
    device: torch.device
    batch_size: int
    resize: bool
    num_workers: int | None = None
    description: str | None = None
    folder: DescriptorFolder | None = None
    images: int = 0
    seconds: float = 0.0

    @property
    def descriptors_per_second(self) -> float | None:
        """Photos described per second; None before the first."""
        return self.images / self.seconds if self.images else None

    def describe(
        self, part: str, paths: Sequence[str], shorter_side: int | None = None
    ) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the descriptors of photos in order, in chunks (n, D).

        Args:
            part: what the photos are, ``database`` or ``queries``.
            paths: image files.
            shorter_side: photos with a longer one are shrunk to it first.
        """
        with progress_bar(disable=self.description is None) as progress:
            task = progress.add_task(f"{self.description}, {part}", total=len(paths))

            def describe_some(some: Sequence[str]) -> npt.NDArray[np.float32]:
                start = time.perf_counter()
                descriptors = describe_paths(
                    self.network,
                    some,
                    device=self.device,
                    batch_size=self.batch_size,
                    resize=self.resize,
                    num_workers=self.num_workers,
                    advance=lambda images: progress.advance(task, images),
                    shorter_side=shorter_side,
                )
                self.images += len(some)
                self.seconds += time.perf_counter() - start
                return descriptors

            if self.folder is None:
                yield describe_some(paths)
                return
            done = 0
            for chunk in self.folder.read_chunks(part, paths, describe_some):
                done += len(chunk)
                progress.update(task, completed=done)
                yield chunk
