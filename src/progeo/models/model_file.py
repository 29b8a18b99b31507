"""The model file: one safetensors file that says itself what it is, and the published state dicts that do not."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from progeo.errors import ProgeoError
from progeo.files import atomic_write
from progeo.models.backbones.create import find_backbone, list_backbones
from progeo.models.network import PlaceNetwork, Preprocessing, create_network, fit_positions
from progeo.models.state_dicts import check_tensors, read_tensors

FORMAT_VERSION = 1
HEAD_WEIGHT = "aggregation.3.weight"
TEXT_TOWER = ("token_embedding.", "text_encoder.")
"""What published ProGEO checkpoints hold beside the image encoder."""


def save_model(
    path: str | Path, network: PlaceNetwork, *, training: dict[str, Any], metrics: dict[str, Any], licence: str
) -> None:
    """Write ``network`` with all that is needed to use it again to ``path``, a safetensors file, atomically.

    Args:
        path: the file; one that is there is replaced only when the new one is complete.
        network: its weights, backbone name, dimension and preprocessing are kept.
        training: the settings it was trained with, as plain numbers, strings, lists and dicts.
        metrics: what it reached, such as ``{"val_recall@1": 81.2}`` (percent).
        licence: under which the weights may be used.

    Raises:
        ProgeoError: the file cannot be written.
    """
    card = {
        "format_version": FORMAT_VERSION,
        "progeo_version": _progeo_version(),
        "backbone": network.backbone_name,
        "fc_output_dim": network.fc_output_dim,
        "preprocessing": dataclasses.asdict(network.preprocessing),
        "training": training,
        "metrics": metrics,
        "licence": licence,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    content = save(tensors, {key: json.dumps(value, default=_to_plain) for key, value in card.items()})
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def load_model_file(path: str | Path, *, backbone: str | None = None, fc_output_dim: int | None = None) -> PlaceNetwork:
    """Load a trained network from a model file, or from a published state dict, in evaluation mode.

    Args:
        path: a file of ``save_model``, or a ``.pth`` or ``.safetensors`` state dict with the names of the published
            CosPlace and ProGEO checkpoints (plain, or under ``model_state_dict``).
        backbone: needed for a state dict, which does not say it; for a model file it must agree if given.
        fc_output_dim: likewise.

    Returns:
        The network; its ``card`` holds what the file says of itself. Nothing is fetched from the internet.

    Raises:
        ProgeoError: the file cannot be read, is of another network than asked for, or needs the options.
    """
    tensors, entries = read_tensors(path)
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(TEXT_TOWER)}
    if "format_version" in entries:
        card = _read_card(entries, path)
        _check_agreement(card, {"backbone": backbone, "fc_output_dim": fc_output_dim}, path)
    elif backbone is None or fc_output_dim is None:
        raise ProgeoError(_explain_missing_options(tensors, path))
    else:
        card = {"backbone": backbone, "fc_output_dim": fc_output_dim, "training": {}, "metrics": {}, "licence": ""}
    network = create_network(card["backbone"], card["fc_output_dim"], weights="none")
    fit_positions(network, tensors)
    try:
        check_tensors(tensors, network.state_dict(), path, f"{card['backbone']}, fc_output_dim {card['fc_output_dim']}")
    except ProgeoError as error:
        guess = identify(tensors)
        raise ProgeoError(f"{error}{f' The file looks like {guess}.' if guess else ''}") from error
    network.load_state_dict(tensors)
    if "preprocessing" in card:
        network.preprocessing = card["preprocessing"]
    network.card = {**card, "preprocessing": dataclasses.asdict(network.preprocessing)}
    return network.eval()


def identify(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return what network ``tensors`` belong to, like ``ResNet50, fc_output_dim 128``, or nothing if unknown."""
    dimension = _read_dimension(tensors)
    if dimension is None:
        return ""
    shapes = {name: tensor.shape for name, tensor in tensors.items() if name.startswith("backbone.")}
    for name in list_backbones():
        if name.endswith("<name>"):
            continue
        entry = find_backbone(name)
        with torch.device("meta"):
            backbone = entry.cut(entry.build(False))
        expected = {f"backbone.{key}": tensor.shape for key, tensor in backbone.state_dict().items()}
        if shapes.keys() == expected.keys() and all(
            shapes[key] == shape
            for key, shape in expected.items()
            if not key.endswith("positional_embedding")  # which goes with the size of the images
        ):
            return f"{name}, fc_output_dim {dimension}"
    return f"fc_output_dim {dimension}, backbone unknown"


def _read_dimension(tensors: Mapping[str, torch.Tensor]) -> int | None:
    """Return the descriptor dimension of a network's tensors: that of its head, or of a transformer's projection."""
    for name, axis in ((HEAD_WEIGHT, 0), ("backbone.proj", 1)):
        if name in tensors and tensors[name].ndim == 2:
            return int(tensors[name].shape[axis])
    return None


def _explain_missing_options(tensors: Mapping[str, torch.Tensor], path: str | Path) -> str:
    if _read_dimension(tensors) is None:
        return f"{path} is no place recognition model: it has no tensor {HEAD_WEIGHT}."
    return (
        f"{path} is a state dict, which does not say what network it is of. Give `backbone` and `fc_output_dim`; "
        f"it looks like {identify(tensors)}."
    )


def _check_agreement(card: Mapping[str, Any], asked: Mapping[str, str | int | None], path: str | Path) -> None:
    if any(value is not None and value != card[key] for key, value in asked.items()):
        options = ", ".join(f"--{key} {value}" for key, value in asked.items() if value is not None)
        raise ProgeoError(
            f"{path} is {card['backbone']}, fc_output_dim {card['fc_output_dim']}, but {options} was asked for. "
            "Give what the file is (an evaluation needs neither option)."
        )


def _read_card(entries: Mapping[str, str], path: str | Path) -> dict[str, Any]:
    """Return the decoded metadata, with ``preprocessing`` as such."""
    try:
        card = {key: json.loads(value) for key, value in entries.items()}
        if card["format_version"] > FORMAT_VERSION:
            raise ProgeoError(
                f"{path} is a model file of format {card['format_version']}, this progeo {_progeo_version()} reads up "
                f"to {FORMAT_VERSION}. Please update progeo."
            )
        given = card["preprocessing"]
        card["preprocessing"] = Preprocessing(**{**given, "mean": tuple(given["mean"]), "std": tuple(given["std"])})
        card["backbone"], card["fc_output_dim"] = str(card["backbone"]), int(card["fc_output_dim"])
    except (KeyError, TypeError, ValueError) as error:
        raise ProgeoError(f"The description inside {path} is damaged ({type(error).__name__}: {error}).") from error
    return card


def _progeo_version() -> str:
    try:
        return metadata.version("progeo")
    except metadata.PackageNotFoundError:  # used from a clone, through torch.hub
        return "not installed"


def _to_plain(value: Any) -> Any:
    """Turn numpy and torch scalars into numbers and anything else, such as paths, into text."""
    return value.item() if hasattr(value, "item") else str(value)
