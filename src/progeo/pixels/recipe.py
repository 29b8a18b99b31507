"""What a network wants its images to look like; it travels with the network, so that nobody can normalise wrongly."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from progeo.devices import channel_constant

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """The size and normalisation that a network was (pre)trained with.

    ``image_size`` is in pixels (the shorter side), ``mean`` and ``std`` are per RGB channel for values in [0, 1],
    ``interpolation`` is the name of the resampling filter (``bilinear`` or ``bicubic``). With ``square`` a network
    takes nothing but ``image_size`` by ``image_size``.
    """

    image_size: int = 512
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "bilinear"
    square: bool = False

    def resize(self, image: torch.Tensor) -> torch.Tensor:
        """Bring an image (3, H, W) to the network's size, antialiased; its aspect ratio is kept unless ``square``."""
        # Imported here, since it brings 170 MB of compilers that searching in a place database has no need of.
        from torchvision.transforms.v2 import InterpolationMode, functional

        size = [self.image_size] * (2 if self.square else 1)
        interpolation = InterpolationMode(self.interpolation)
        resized: torch.Tensor = functional.resize(image, size, interpolation=interpolation, antialias=True)
        return resized

    def normalize(self, images: torch.Tensor) -> torch.Tensor:
        """Return ``(images - mean) / std`` for float ``images`` (B, 3, H, W) or (3, H, W) in [0, 1]."""
        mean, std = (channel_constant(values, images.dtype, images.device) for values in (self.mean, self.std))
        return (images - mean) / std
