"""Building a backbone: from the registry, with weights from the hub, from a file or at random, frozen as published."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

# Importing these registers their backbones.
import progeo.models.backbones.clip
import progeo.models.backbones.dinov2
import progeo.models.backbones.lite_clip
import progeo.models.backbones.timm
import progeo.models.backbones.torchvision  # noqa: F401
from progeo.errors import ProgeoError
from progeo.models.backbones.registry import BackboneEntry, find_backbone, list_backbones
from progeo.models.state_dicts import read_tensors
from progeo.models.text import ImageTextModel
from progeo.models.weights import build_network, check_weights_option, copy_tensors

__all__ = ["BackboneEntry", "create_backbone", "create_image_text_model", "find_backbone", "list_backbones"]


def create_backbone(
    entry: BackboneEntry,
    *,
    weights: str = "default",
    train_all_layers: bool = False,
    frozen_stages: int | None = None,
    unfreeze: int | None = None,
) -> nn.Module:
    """Return the backbone of ``entry``, which gives ``Features``.

    Args:
        entry: from ``find_backbone``.
        weights: ``default`` (the backbone's own, from the network or its cache; those of OpenAI's CLIP are called
            ``openai`` too), ``none`` (random), or the path of a state dict: of the backbone, of the whole network as
            its library publishes it, or of a trained model, whose backbone is taken.
        train_all_layers: leave no parameter frozen.
        frozen_stages: how many stages to freeze, for backbones that have an option for it (``entry.freeze_option``);
            None freezes as published.
        unfreeze: train this many blocks or stages, counted from the end, and nothing else of the backbone.

    Raises:
        ProgeoError: there are not so many stages, ``unfreeze`` comes with one of the others, or the weights cannot be
            fetched or read, or are of another architecture.
    """
    if unfreeze is not None and (train_all_layers or frozen_stages is not None):
        other = "train_all_layers" if train_all_layers else entry.freeze_option or "frozen_stages"
        raise ProgeoError(f"`unfreeze` and `{other}` both say which layers are trained. Leave out one of the two.")
    if weights == "none" or weights in entry.default_weights:
        backbone = entry.cut(build_network(entry, weights))
    else:
        check_weights_option(entry, weights)
        backbone = _build_from_file(entry, Path(weights))
    if unfreeze is not None:
        _unfreeze(backbone, entry, unfreeze)
    elif not train_all_layers:
        arguments = [] if frozen_stages is None or entry.freeze_option is None else [frozen_stages]
        for parameter in entry.frozen(backbone, *arguments):
            parameter.requires_grad_(False)
    return backbone


def _unfreeze(backbone: nn.Module, entry: BackboneEntry, count: int) -> None:
    """Leave nothing trainable but the last ``count`` stages."""
    stages = entry.stages(backbone)
    if not 0 <= count <= len(stages):
        raise ProgeoError(f"`unfreeze` {count}: {entry.name} has {len(stages)} stages, so give 0 to {len(stages)}.")
    backbone.requires_grad_(False)
    for part in (part for stage in stages[len(stages) - count :] for part in stage):
        part.requires_grad_(True)


def create_image_text_model(entry: BackboneEntry, weights: str = "default") -> ImageTextModel:
    """Return both towers of ``entry``, frozen and in evaluation mode.

    Args:
        entry: from ``find_backbone``.
        weights: as for ``create_backbone``; a file must hold both towers. Random ones are the same every time, so that
            image features and prompts belong to them too.

    Raises:
        ProgeoError: the backbone has no text tower, or its weights cannot be had.
    """
    if entry.create_image_text is None:
        raise ProgeoError(
            f"`backbone` {entry.name} has no text tower, so that there is nothing to learn prompts with. Use a CLIP, "
            "such as CLIP-RN50, or LiteCLIP."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return entry.create_image_text(weights).eval().requires_grad_(False)


def _build_from_file(entry: BackboneEntry, path: Path) -> nn.Module:
    given, _ = read_tensors(path)
    if any(name.startswith("backbone.") for name in given):
        given = {name[len("backbone.") :]: tensor for name, tensor in given.items() if name.startswith("backbone.")}
    whole = entry.build(False)
    expected = {name: tensor for name, tensor in whole.state_dict().items() if not name.startswith(entry.classifier)}
    backbone = entry.cut(whole)
    if given.keys() & expected.keys():
        given = {name: tensor for name, tensor in given.items() if not name.startswith(entry.classifier)}
    else:
        expected = backbone.state_dict()
    copy_tensors(given, expected, path, entry)
    return backbone
