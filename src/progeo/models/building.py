"""Making networks: from names, to be trained or as they are, and from a spec."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from progeo.errors import ProgeoError
from progeo.models.backbones.create import create_backbone, find_backbone
from progeo.models.backbones.registry import find_family, is_backbone
from progeo.models.features import as_features
from progeo.models.heads import create_head, find_head, list_heads
from progeo.models.heads.registry import DEFAULT_DIMENSION
from progeo.models.network import PlaceNetwork, note_provenance
from progeo.models.spec import ModelSpec
from progeo.plugins import find_packages

logger = logging.getLogger("progeo")


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
        return note_provenance(create_untrained(entry.same_as, weights), also_known_as=name)
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


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Draw random numbers from a seed inside the block, and go on outside as if nothing had been drawn."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
