"""The network: images in, place descriptors out, with the spec that says what it is."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from progeo.errors import ProgeoError
from progeo.models.backbones.clip import ClipResNet, ClipVisionTransformer
from progeo.models.backbones.create import create_backbone, find_backbone
from progeo.models.backbones.dinov2 import DinoV2
from progeo.models.backbones.registry import find_family, is_backbone
from progeo.models.features import Features, as_features
from progeo.models.folding import fold_batch_norms
from progeo.models.heads import create_head, find_head, list_heads
from progeo.models.heads.registry import DEFAULT_DIMENSION
from progeo.models.images import normalize
from progeo.models.probing import probe_model
from progeo.models.spec import ModelSpec
from progeo.models.stages import collect_maps
from progeo.pixels.recipe import Preprocessing, list_sources
from progeo.plugins import find_packages

if TYPE_CHECKING:
    from progeo.pixels.recipe import Source

logger = logging.getLogger("progeo")

__all__ = ["DEFAULT_DIMENSION", "PlaceNetwork", "Preprocessing", "build", "create_model", "create_network"]


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
        return _note(network, batch_dependent=probe.batch_dependent)

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


def create_model(
    backbone: str,
    *,
    head: str | None = None,
    descriptor_dim: int | None = None,
    weights: str = "default",
    seed: int | None = 0,
    unfreeze: int | None = None,
    train_all_layers: bool = False,
    frozen_stages: int | None = None,
    image_size: int | None = None,
    backbone_arguments: Mapping[str, Any] | None = None,
    head_arguments: Mapping[str, Any] | None = None,
) -> PlaceNetwork:
    """Return a network to be trained: a pretrained backbone with a new head, its first layers frozen as published.

    Args:
        backbone: a name of ``list_backbones()``, such as ``ResNet18`` or ``timm:resnet34``.
        head: a name of ``list_heads()``; None takes the backbone's own: ``gem``, or ``identity`` for a transformer of
            CLIP.
        descriptor_dim: dimension of the descriptors, where the head leaves the choice. None takes the only one that the
            head can give, else that of the backbone's text tower, else the head's usual one, else 512.
        weights: where the backbone starts: ``default`` (its own weights, from the network or its cache), ``none``
            (random), or the path of a backbone state dict (``.pth`` or ``.safetensors``).
        seed: of the random weights, those of the head among them; None goes on with PyTorch's generator.
        unfreeze: train the last so many blocks or stages of the backbone, instead of those of the publication.
        train_all_layers: freeze nothing.
        frozen_stages: of a CLIP, how many layers (ResNet) or blocks (transformer) to freeze; None as published.
        image_size: pixels of the photos; None takes the backbone's usual ones. Heads that are bound to one size
            (``mixvpr``) are made for squares of it.
        backbone_arguments: further arguments of the backbone.
        head_arguments: further arguments of the head.

    Raises:
        ProgeoError: a part is unknown, the parts do not fit, the weights cannot be had, or the size is no multiple of
            the backbone's patches.

    Example:
        >>> network = create_model("ResNet18", descriptor_dim=256, weights="none").eval()
        >>> network(network.normalize(torch.rand(2, 3, 64, 96))).shape
        torch.Size([2, 256])
    """
    if descriptor_dim is not None and (
        isinstance(descriptor_dim, bool) or not isinstance(descriptor_dim, int) or descriptor_dim < 1
    ):
        raise ProgeoError(f"`descriptor_dim` must be a positive whole number, not {descriptor_dim!r}.")
    entry = find_backbone(backbone, **(backbone_arguments or {}))
    head = head or entry.head
    arguments = dict(head_arguments or {})
    needs_grid = find_head(head).needs_grid
    preprocessing = dataclasses.replace(entry.preprocessing, square=needs_grid or entry.preprocessing.square)
    with _seeded(seed):
        features = create_backbone(
            entry,
            weights=weights,
            train_all_layers=train_all_layers,
            frozen_stages=frozen_stages,
            unfreeze=unfreeze,
        )
        if needs_grid and "grid" not in arguments:
            arguments["grid"] = _find_grid(features, image_size or preprocessing.image_size)
        module, dimension = create_head(
            head,
            entry.shapes(features),
            descriptor_dim,
            arguments,
            backbone=backbone,
            default_dim=entry.text_dimension,
        )
    is_default = weights in entry.default_weights
    packages = find_packages(backbone=find_family(backbone) or backbone, head=head)
    spec = ModelSpec(
        backbone=backbone,
        backbone_arguments=dict(backbone_arguments or {}),
        head=head,
        head_arguments=arguments,
        preprocessing=preprocessing,
        descriptor_dim=dimension,
        licence=entry.licence if is_default else "",
        provenance={
            **({"source": entry.source} if is_default else {}),
            **({"packages": packages} if packages else {}),
        },
    )
    network = PlaceNetwork(features, module, spec)
    if image_size is not None:
        network.set_image_size(image_size)
    return network.train()


def find_usual_dimension(
    backbone: str,
    head: str | None = None,
    *,
    backbone_arguments: Mapping[str, Any] | None = None,
    head_arguments: Mapping[str, Any] | None = None,
) -> int:
    """Return the dimension that ``create_model`` takes where none is given."""
    entry = find_backbone(backbone, **(backbone_arguments or {}))
    chosen = find_head(head or entry.head)
    if chosen.fixed_dim is None and (chosen.own_dim is None or entry.text_dimension):
        return entry.text_dimension or DEFAULT_DIMENSION
    with torch.device("meta"):
        shapes = entry.shapes(entry.cut(entry.build(False)))
        return create_head(chosen.name, shapes, arguments=head_arguments, backbone=backbone)[1]


@torch.no_grad()
def _find_grid(backbone: nn.Module, image_size: int) -> list[int]:
    """Return height and width of the map that a backbone gives of squares of this size."""
    home = next(backbone.parameters(), torch.empty(0)).device
    was_training = backbone.training
    features = as_features(backbone.eval()(torch.zeros(1, 3, image_size, image_size, device=home)))
    backbone.train(was_training)
    assert features.map is not None
    return list(features.map.shape[-2:])


def create_untrained(name: str, weights: str = "default") -> PlaceNetwork:
    """Return a backbone as a model that was not trained for places, in evaluation mode.

    Its head learns nothing: GeM with p = 3 and no projection, or the class token of a transformer of CLIP. Photos come
    at the size that its weights were trained at, their aspect ratio kept.
    """
    entry = find_backbone(name)
    if entry.same_as:
        logger.info(f"{name} without training is {entry.same_as}, as the text tower encodes no photos")
        return _note(create_untrained(entry.same_as, weights), also_known_as=name)
    head, arguments = entry.untrained_head
    features = create_backbone(entry, weights=weights)
    shapes = entry.shapes(features)
    dimension = shapes.map if head == "gem" else None
    module, dimension = create_head(head, shapes, dimension, arguments, backbone=name)
    preprocessing = entry.own_preprocessing or entry.preprocessing
    if getattr(features, "fixed_size", None):
        preprocessing = dataclasses.replace(preprocessing, square=True)
    spec = ModelSpec(
        backbone=name,
        head=head,
        head_arguments=arguments,
        preprocessing=preprocessing,
        descriptor_dim=dimension,
        licence=entry.licence,
        provenance={"source": entry.source, "untrained": True},
    )
    return PlaceNetwork(features, module, spec).eval()


def build(spec: ModelSpec, *, trust_remote_code: bool = False, device: torch.device | str = "cpu") -> PlaceNetwork:
    """Return the network that a spec describes, with random weights, in evaluation mode.

    Args:
        spec: what it is.
        trust_remote_code: let models of torch.hub run their own code.
        device: where it will be used; only told to models of torch.hub that cannot be moved.

    Raises:
        ProgeoError: a part is not known here, or foreign code is not trusted or has changed.
    """
    from progeo.models.hub import build_hub_model, find_hub_address

    if find_hub_address(spec):
        return build_hub_model(spec, trust_remote_code=trust_remote_code, device=device)
    _check_parts(spec)
    network = create_model(
        spec.backbone,
        head=spec.head,
        descriptor_dim=spec.descriptor_dim,
        weights="none",
        seed=None,
        backbone_arguments=spec.backbone_arguments,
        head_arguments=spec.head_arguments,
    ).eval()
    network.spec = spec
    return network


def create_network(
    backbone: str,
    fc_output_dim: int | None = None,
    *,
    weights: str = "default",
    train_all_layers: bool = False,
    frozen_stages: int | None = None,
) -> PlaceNetwork:
    """Return a network to be trained, as ``create_model`` does: the name of 0.1.0."""
    return create_model(
        backbone,
        descriptor_dim=fc_output_dim,
        weights=weights,
        seed=None,
        train_all_layers=train_all_layers,
        frozen_stages=frozen_stages,
    )


def fit_positions(network: PlaceNetwork, tensors: Mapping[str, torch.Tensor]) -> None:
    """Bring the network's positional embeddings, if it has any, to the number that ``tensors`` hold."""
    if isinstance(network.backbone, ClipResNet | ClipVisionTransformer):
        prefix = "attnpool." if isinstance(network.backbone, ClipResNet) else ""
        embeddings = tensors.get(f"backbone.{prefix}positional_embedding")
        if embeddings is not None and embeddings.ndim == 2:
            network.backbone.fit_positions(len(embeddings))


def _check_parts(spec: ModelSpec) -> None:
    """Raise ProgeoError if a part of the spec is not registered, and say where it may be had."""
    missing = [
        f"{kind} '{name}'"
        for kind, name, is_known in (
            ("backbone", spec.backbone, is_backbone(spec.backbone)),
            ("head", spec.head, spec.head in list_heads()),
        )
        if not is_known
    ]
    if not missing:
        return
    unknown = " and ".join(missing)
    if packages := spec.provenance.get("packages"):
        raise ProgeoError(f"This model needs {unknown} of {', '.join(packages)}: pip install {' '.join(packages)}.")
    if spec.provenance.get("own_parts"):
        raise ProgeoError(
            f"This model was put together in Python from {unknown}, which progeo does not know by name. Register the "
            "parts in a plugin (register_backbone, register_head), or give the network itself in Python."
        )
    raise ProgeoError(f"This model needs {unknown}, which progeo does not know: is a plugin missing?")


def _note(network: PlaceNetwork, **provenance: Any) -> PlaceNetwork:
    """Add to what the spec says of where the network comes from."""
    network.spec = dataclasses.replace(network.spec, provenance={**network.spec.provenance, **provenance})
    return network


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Draw random numbers from a seed inside the block, and go on outside as if nothing had been drawn."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
