"""LightGlue on DISK, of kornia: a network that finds points, and one that pairs those of two photos.

Tyszkiewicz et al., DISK, NeurIPS 2020; Lindenberger et al., LightGlue, ICCV 2023.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from progeo.devices import choose_device
from progeo.errors import ProgeoError, require

FEATURES = "disk"
MOST_POINTS = 1024

Points = NDArray[np.float32]


class LightGlue:
    """DISK and LightGlue on a device; their weights are downloaded when they are not in the cache of torch.hub."""

    def __init__(self, device: str = "cpu") -> None:
        """Load both networks.

        Raises:
            ProgeoError: kornia is not installed, or the weights can neither be found nor downloaded.
        """
        feature = require("kornia.feature", "Re-ranking by LightGlue")
        self._device = choose_device(device)
        try:
            self._disk = feature.DISK.from_pretrained("depth").eval().to(self._device)
            self._matcher = feature.LightGlue(FEATURES).eval().to(self._device)
        except OSError as error:  # those of urllib are
            raise ProgeoError(
                f"The weights of DISK and LightGlue cannot be downloaded ({error}). With a network connection they are "
                f"kept in {torch.hub.get_dir()}/checkpoints; copy the files of another machine there. `rerank` sift "
                "and dense need none."
            ) from error

    def extract(self, pixels: NDArray[np.uint8]) -> tuple[Points, Points]:
        """Return the strongest points (n, 2), x and y in pixels, of a photo (H, W, 3), and their features (n, D)."""
        with torch.inference_mode():
            image = torch.from_numpy(pixels).to(self._device).permute(2, 0, 1)[None].float() / 255
            found = self._disk(image, MOST_POINTS, pad_if_not_divisible=True)[0]
            strongest = found.detection_scores.argsort(descending=True, stable=True)
            return found.keypoints[strongest].cpu().numpy(), found.descriptors[strongest].cpu().numpy()

    def pair(self, *photos: tuple[Points, Points, Points]) -> NDArray[np.int64]:
        """Return the pairs (p, 2) of rows of two photos, each given as points, features, and width and height."""
        data = dict(zip(("image0", "image1"), (self._to_input(*photo) for photo in photos), strict=True))
        with torch.inference_mode():
            pairs: NDArray[np.int64] = self._matcher(data)["matches"][0].cpu().numpy()
        return pairs.reshape(-1, 2)

    def _to_input(self, points: Points, features: Points, size: Points) -> dict[str, Any]:
        named = {"keypoints": points, "descriptors": features, "image_size": size}
        return {
            name: torch.from_numpy(values.astype(np.float32))[None].to(self._device) for name, values in named.items()
        }
