"""The engine of PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from progeo.devices import choose_device, copy_to
from progeo.errors import explain_lack_of_memory
from progeo.models.images import normalize
from progeo.models.network import PlaceNetwork
from progeo.pixels.recipe import Preprocessing


class TorchEngine:
    """Runs a network on a device: channels last, batch normalisations folded where that changes nothing."""

    def __init__(self, network: PlaceNetwork, device: torch.device | str = "cpu", *, fold: bool = True) -> None:
        """Move ``network``, in evaluation mode, to ``device``; ``fold`` gives a faster copy of it, if it is our own."""
        self.device = choose_device(str(device))
        self.network = network.to(self.device)
        self._run = network.fold() if fold else network

    def describe(self, pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
        """Return the descriptors, float32 (B, D), of pixels (B, H, W, 3).

        Raises:
            ProgeoError: there is too little memory.
        """
        with _computing():
            descriptors: NDArray[np.float32] = self._run(self._prepare(pixels, preprocessing)).float().cpu().numpy()
            return descriptors

    def describe_with_local(
        self, pixels: NDArray[np.uint8], preprocessing: Preprocessing
    ) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
        """Return the descriptors, float32 (B, D), and the local features, float16 (B, C, h, w), from one pass.

        Raises:
            ProgeoError: the model has no local features, or there is too little memory.
        """
        with _computing():
            descriptors, local = self._run.forward_with_local(self._prepare(pixels, preprocessing))
            return descriptors.float().cpu().numpy(), local.half().cpu().numpy()

    def _prepare(self, pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> torch.Tensor:
        """Return pixels (B, H, W, 3) as normalised images (B, 3, H, W) on the device."""
        batch = torch.from_numpy(pixels)
        if self.device.type == "cuda":
            batch = batch.pin_memory()
        return normalize(copy_to(batch, self.device).permute(0, 3, 1, 2).float().div_(255), preprocessing)


@contextmanager
def _computing() -> Iterator[None]:
    """Record no gradients inside the block, not in a thread of a server either, and explain a lack of memory."""
    with torch.inference_mode(), explain_lack_of_memory("lower `batch_size`, or take a model of smaller photos"):
        yield
