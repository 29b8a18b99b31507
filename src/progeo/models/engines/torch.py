"""The engine of PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from progeo.devices import choose_device, choose_precision, copy_to
from progeo.errors import explain_lack_of_memory
from progeo.models.images import normalize
from progeo.models.network import PlaceNetwork
from progeo.pixels.recipe import Preprocessing


class TorchEngine:
    """Runs a network on a device: channels last, batch normalisations folded where that changes nothing.

    Attributes:
        device: where.
        network: as it was given.
        precision: ``float32``, ``bf16`` or ``fp16``: in which convolutions and matrix products are computed.
        name: what runs the network, in words.
    """

    def __init__(
        self,
        network: PlaceNetwork,
        device: torch.device | str = "cpu",
        *,
        fold: bool = True,
        precision: str = "float32",
    ) -> None:
        """Move ``network`` to ``device``, in evaluation mode.

        Args:
            network: what to run.
            device: ``cpu``, ``cuda``, ``mps`` or ``auto``.
            fold: run a faster copy of it, if it is our own.
            precision: see ``choose_precision``.
        """
        self.device = choose_device(str(device))
        self.network = network.to(self.device)
        self.precision = choose_precision(precision, self.device)
        self.name = f"PyTorch, {self.device}" + (f", {self.precision}" if self.precision != "float32" else "")
        self._run = network.fold() if fold else network

    def describe(self, pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
        """Return the descriptors, float32 (B, D), of pixels (B, H, W, 3).

        Raises:
            ProgeoError: there is too little memory.
        """
        with self._computing():
            descriptors: NDArray[np.float32] = self._run(self._prepare(pixels, preprocessing)).float().cpu().numpy()
            return descriptors

    def describe_with_local(
        self, pixels: NDArray[np.uint8], preprocessing: Preprocessing
    ) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
        """Return the descriptors, float32 (B, D), and the local features, float16 (B, C, h, w), from one pass.

        Raises:
            ProgeoError: the model has no local features, or there is too little memory.
        """
        with self._computing():
            descriptors, local = self._run.forward_with_local(self._prepare(pixels, preprocessing))
            return descriptors.float().cpu().numpy(), local.half().cpu().numpy()

    def _prepare(self, pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> torch.Tensor:
        """Return pixels (B, H, W, 3) as normalised images (B, 3, H, W) on the device."""
        batch = torch.from_numpy(pixels)
        if self.device.type == "cuda":
            batch = batch.pin_memory()
        return normalize(copy_to(batch, self.device).permute(0, 3, 1, 2).float().div_(255), preprocessing)

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Compute in the engine's precision inside the block, without gradients, and explain a lack of memory."""
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)
        with (
            torch.inference_mode(),  # a thread of a server starts without it
            torch.autocast(self.device.type, dtype, enabled=dtype is not None),
            explain_lack_of_memory("lower `batch_size`, or take a model of smaller photos"),
        ):
            yield
