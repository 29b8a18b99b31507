"""The network: images in, place descriptors out, with the spec that says what it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from progeo.errors import ProgeoError
from progeo.models.backbones.clip import ClipResNet, ClipVisionTransformer
from progeo.models.backbones.create import find_backbone
from progeo.models.backbones.dinov2 import DinoV2
from progeo.models.backbones.registry import is_backbone
from progeo.models.features import Features, as_features
from progeo.models.folding import fold_batch_norms
from progeo.models.images import normalize
from progeo.models.probing import probe_model
from progeo.models.spec import ModelSpec
from progeo.models.stages import collect_maps
from progeo.pixels.recipe import Preprocessing, list_sources

if TYPE_CHECKING:
    from progeo.pixels.recipe import Source


LOCAL = "local"
"""The name under which a head asks for the map of the backbone's local stage."""


class PlaceNetwork(nn.Module):
    """A backbone and a head: from images to one descriptor each.

    A head that reads earlier stages of the backbone names them in an attribute ``stages`` and finds their maps in
    ``Features.stages``: ``local``, or the name of a submodule of the backbone that gives a map (B, C, h, w).

    Attributes:
        backbone: from normalised images (B, 3, H, W) to ``Features``, or to a tensor that is one of them.
        aggregation: the head, from those to descriptors (B, ``descriptor_dim``).
        spec: what the network is.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, spec: ModelSpec) -> None:
        """Put the parts together; ``create_model`` makes them, and anybody's own modules will do."""
        super().__init__()
        self.backbone = backbone
        self.aggregation = head
        self.spec = spec

    @classmethod
    def compose(
        cls, backbone: nn.Module, head: nn.Module, *, preprocessing: Preprocessing, licence: str = ""
    ) -> PlaceNetwork:
        """Return the network of anybody's own parts, tried out once; ``spec`` says that they are not registered.

        Args:
            backbone: from normalised images (B, 3, H, W) to ``Features``, or to a tensor that is one of them.
            head: from ``Features`` to descriptors (B, D).
            preprocessing: how the network wants its photos.
            licence: under which its weights may be used.

        Raises:
            ProgeoError: what it gives are no descriptors.
        """
        spec = ModelSpec(
            backbone=type(backbone).__qualname__,
            head=type(head).__qualname__,
            preprocessing=preprocessing,
            descriptor_dim=1,
            licence=licence,
            provenance={"own_parts": True},
        )
        network = cls(backbone, head, spec).eval()
        home = next(network.parameters(), torch.empty(0)).device
        probe = probe_model(network, preprocessing, home)
        network.spec = dataclasses.replace(spec, descriptor_dim=probe.dimension)
        return note_provenance(network, batch_dependent=probe.batch_dependent)

    @property
    def preprocessing(self) -> Preprocessing:
        """How it wants its photos."""
        return self.spec.preprocessing

    @preprocessing.setter
    def preprocessing(self, preprocessing: Preprocessing) -> None:
        self.spec = dataclasses.replace(self.spec, preprocessing=preprocessing)

    @property
    def descriptor_dim(self) -> int:
        """Dimension of the descriptors."""
        return self.spec.descriptor_dim

    @property
    def backbone_name(self) -> str:
        """The registry's name of the backbone."""
        return self.spec.backbone

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Encode normalised float images (B, 3, H, W) into descriptors (B, ``descriptor_dim``).

        They have Euclidean norm 1, except those of head ``identity``, which stay as they are.
        """
        descriptors: torch.Tensor = self.aggregation(self.extract(images, getattr(self.aggregation, "stages", ())))
        return descriptors

    def extract(self, images: torch.Tensor, stages: Sequence[str] = ()) -> Features:
        """Return the features of normalised images (B, 3, H, W), the maps of earlier ``stages`` among them."""
        # Channels last is the layout that convolutions are fastest in, on CPUs and with mixed precision on GPUs.
        images = images.contiguous(memory_format=torch.channels_last)
        if not stages:
            return as_features(self.backbone(images))
        names = {stage: self._local_stage if stage == LOCAL else stage for stage in stages}
        with collect_maps(self.backbone, {stage: name for stage, name in names.items() if name}) as maps:
            features = as_features(self.backbone(images))
        if LOCAL in names and not names[LOCAL]:
            assert features.map is not None
            maps[LOCAL] = features.map
        return features._replace(stages=maps)

    @cached_property
    def _local_stage(self) -> str | None:
        return find_backbone(self.spec.backbone, **self.spec.backbone_arguments).local_stage(self.backbone)

    @cached_property
    def local_channels(self) -> int | None:
        """Channels of the local features; None where the model has none: one of torch.hub, or of unregistered parts."""
        if not is_backbone(self.spec.backbone):
            return None
        return find_backbone(self.spec.backbone, **self.spec.backbone_arguments).shapes(self.backbone).local_channels

    def local_features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the local features (B, C, h, w) of normalised images (B, 3, H, W), at length 1 along C.

        They are the output of the backbone's stage at stride 16 (the fifth of an EfficientNet, layer3 of a ResNet), or
        the patch tokens of a transformer in their grid.

        Raises:
            ProgeoError: the model has none.
        """
        self.check_local_features()
        return F.normalize(self.extract(images, (LOCAL,)).stages[LOCAL], dim=1)

    def forward_with_local(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what ``forward`` and ``local_features`` return, from one forward pass."""
        self.check_local_features()
        features = self.extract(images, (*getattr(self.aggregation, "stages", ()), LOCAL))
        return self.aggregation(features), F.normalize(features.stages[LOCAL], dim=1)

    def check_local_features(self) -> None:
        """Raise ProgeoError if the model has no local features."""
        if self.local_channels is None:
            raise ProgeoError(
                f"The model {self.backbone_name} has no local features: only registered backbones that give a map or "
                "patch tokens have. Choose another model, such as EfficientNet-Lite0."
            )

    def encode(
        self,
        photos: Source | Sequence[Source],
        *,
        device: torch.device | str | None = None,
        batch_size: int = 16,
        num_workers: int | None = None,
        progress: bool = False,
        output: Literal["numpy", "torch"] = "numpy",
    ) -> Any:
        """Encode photos at the model's own size, in evaluation mode whatever mode it is in.

        Args:
            photos: one photo or several: paths, bytes, images of Pillow, arrays (H, W, 3), tensors (3, H, W).
            device: where to compute; None is where the network is.
            batch_size: photos per forward pass.
            num_workers: reading threads; 0 reads in this one, None takes one per core, at most eight.
            progress: show a progress bar.
            output: ``numpy`` or ``torch`` (on the CPU).

        Returns:
            float32 (N, ``descriptor_dim``), in the order of ``photos``; one photo has N = 1.

        Raises:
            ProgeoError: a photo cannot be read; it is named.

        Example:
            >>> from progeo.models.building import create_model
            >>> network = create_model("ResNet18", descriptor_dim=8, weights="none")
            >>> network.encode([torch.rand(3, 48, 64), torch.rand(3, 64, 48)]).shape
            (2, 8)
        """
        from progeo.models.encoder import Encoder

        if output not in ("numpy", "torch"):
            raise ProgeoError(f"`output` is numpy or torch, not {output!r}.")
        home = next(self.parameters(), torch.empty(0)).device
        was_training = self.training
        try:
            encoder = Encoder.create(
                self.eval(), device=str(device or home), batch_size=batch_size, num_workers=num_workers
            )
            descriptors = encoder.encode(list_sources(photos), description="Encoding" if progress else None)
        finally:
            self.train(was_training).to(home)
        return torch.from_numpy(descriptors) if output == "torch" else descriptors

    def fold(self) -> PlaceNetwork:
        """Return what gives the same descriptors in less time, in eval mode as this is; see ``fold_batch_norms``.

        Networks of others stay as they are: nobody knows what their modules are asked for.
        """
        if getattr(self.backbone, "is_foreign", False) or self.spec.provenance.get("own_parts"):
            return self
        return fold_batch_norms(self, self.preprocessing, PlaceNetwork.__call__)

    def normalize(self, images: torch.Tensor) -> torch.Tensor:
        """Return float images (B, 3, H, W) in [0, 1] as ``forward`` wants them."""
        return normalize(images, self.preprocessing)

    def set_image_size(self, image_size: int) -> None:
        """Prepare for training at ``image_size`` pixels: positional embeddings are interpolated to it.

        Raises:
            ProgeoError: the backbone cuts images into patches, and the size is no multiple of them.
        """
        if isinstance(self.backbone, ClipVisionTransformer | DinoV2):
            patch = self.backbone.patch_size
            if image_size % patch:
                raise ProgeoError(
                    f"`image_size` {image_size} is no multiple of {patch}, the side of the patches of "
                    f"{self.backbone_name}: use for example `image_size` {max(1, round(image_size / patch)) * patch}."
                )
            if isinstance(self.backbone, ClipVisionTransformer):
                self.backbone.fit_positions((image_size // patch) ** 2 + 1)
        self.preprocessing = dataclasses.replace(self.preprocessing, image_size=image_size)


def fit_positions(network: PlaceNetwork, tensors: Mapping[str, torch.Tensor]) -> None:
    """Bring the network's positional embeddings, if it has any, to the number that ``tensors`` hold."""
    if isinstance(network.backbone, ClipResNet | ClipVisionTransformer):
        prefix = "attnpool." if isinstance(network.backbone, ClipResNet) else ""
        embeddings = tensors.get(f"backbone.{prefix}positional_embedding")
        if embeddings is not None and embeddings.ndim == 2:
            network.backbone.fit_positions(len(embeddings))


def note_provenance(network: PlaceNetwork, **provenance: Any) -> PlaceNetwork:
    """Add to what the spec says of where the network comes from."""
    network.spec = dataclasses.replace(network.spec, provenance={**network.spec.provenance, **provenance})
    return network
