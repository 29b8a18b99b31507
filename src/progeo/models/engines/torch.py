"""The engine of PyTorch."""

from __future__ import annotations

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
        # Not through inference mode alone: a thread of a server starts without it.
        with torch.inference_mode(), explain_lack_of_memory("lower `batch_size`, or take a model of smaller photos"):
            batch = torch.from_numpy(pixels)
            if self.device.type == "cuda":
                batch = batch.pin_memory()
            images = copy_to(batch, self.device).permute(0, 3, 1, 2).float().div_(255)
            descriptors: NDArray[np.float32] = self._run(normalize(images, preprocessing)).float().cpu().numpy()
            return descriptors
