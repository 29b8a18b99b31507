"""The model file, a self-describing safetensors file; and published state dicts, which do not say what they are."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from progeo.errors import ProgeoError
from progeo.files import atomic_write
from progeo.models.backbones.create import find_backbone, list_backbones
from progeo.models.building import build
from progeo.models.hub import find_hub_address
from progeo.models.network import PlaceNetwork, fit_positions
from progeo.models.spec import ModelSpec, explain_damage
from progeo.models.state_dicts import check_tensors, read_tensors
from progeo.plain import parse_json, read_value

FORMAT_VERSION = 2
HEAD_WEIGHT = "aggregation.3.weight"
TENSORS_BESIDE = 4096
"""Tensors that the whole network of a backbone may have beside those that are kept: a classifier, a text tower."""
TEXT_TOWER = ("token_embedding.", "text_encoder.")
"""What published ProGEO checkpoints hold beside the image encoder."""


def save_model(
    path: str | Path,
    network: PlaceNetwork,
    *,
    training: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    licence: str | None = None,
) -> None:
    """Write ``network`` with all that is needed to use it again to ``path``, a safetensors file, atomically.

    Args:
        path: the file; one that is there is replaced only when the new one is complete.
        network: its weights and its spec are kept.
        training: the settings it was trained with, for the spec's provenance; None keeps what that says.
        metrics: what it reached, such as ``{"val_recall@1": 81.2}`` (percent); likewise.
        licence: under which the weights may be used; likewise.

    Raises:
        ProgeoError: the file cannot be written.
    """
    given = {"training": training, "metrics": metrics}
    spec = dataclasses.replace(
        network.spec,
        licence=network.spec.licence if licence is None else licence,
        provenance={
            **network.spec.provenance,
            **{key: value for key, value in given.items() if value is not None},
            "progeo_version": _progeo_version(),
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        },
    )
    content = save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()},
        {"format_version": str(FORMAT_VERSION), "spec": json.dumps(spec.to_dict(), default=_to_plain)},
    )
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def load_model_file(
    path: str | Path,
    *,
    backbone: str | None = None,
    descriptor_dim: int | None = None,
    trust_remote_code: bool = False,
    device: torch.device | str = "cpu",
    where: object = None,
) -> PlaceNetwork:
    """Load a trained network from a model file, or from a published state dict, in evaluation mode.

    Args:
        path: a file of ``save_model``, or a ``.pth`` or ``.safetensors`` state dict with the names of the published
            CosPlace and ProGEO checkpoints (plain, or under ``model_state_dict``).
        backbone: needed for a state dict, which does not say it; for a model file it must agree if given.
        descriptor_dim: likewise.
        trust_remote_code: let a model that came from torch.hub run its own code.
        device: where it will be used; only told to models of torch.hub that cannot be moved.
        where: what errors call the file; without it its path.

    Raises:
        ProgeoError: the file cannot be read, is of another network than asked for, or needs the options.
    """
    where = str(where or path)
    spec, tensors = read_model_file(path, backbone=backbone, descriptor_dim=descriptor_dim, where=where)
    return load_weights(spec, tensors, where, trust_remote_code=trust_remote_code, device=device)


def read_model_file(
    path: str | Path, *, backbone: str | None = None, descriptor_dim: int | None = None, where: object = None
) -> tuple[ModelSpec, dict[str, torch.Tensor]]:
    """Return what a file is of, and its tensors, without making the network; arguments as of ``load_model_file``.

    Raises:
        ProgeoError: the file cannot be read, is of another network than asked for, or needs the options.
    """
    where = str(where or path)
    tensors, entries = read_tensors(path, where)
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(TEXT_TOWER)}
    if "format_version" in entries:
        spec = _read_spec(entries, where)
        _check_agreement(spec, {"backbone": backbone, "descriptor_dim": descriptor_dim}, where)
        return spec, tensors
    if backbone is not None and descriptor_dim is None:
        # Of ProGEO, whose descriptors are as long as text features unless it is said.
        descriptor_dim = find_backbone(backbone).text_dimension
    if backbone is None or descriptor_dim is None:
        raise ProgeoError(_explain_missing_options(tensors, where))
    entry = find_backbone(backbone)
    return ModelSpec(backbone, entry.head, entry.preprocessing, descriptor_dim), tensors


def load_weights(
    spec: ModelSpec,
    tensors: Mapping[str, torch.Tensor],
    where: str | Path,
    *,
    trust_remote_code: bool = False,
    device: torch.device | str = "cpu",
    what: str = "",
) -> PlaceNetwork:
    """Return the network of a spec with these weights, in evaluation mode; the tensors become its own.

    Names and shapes are checked before there is memory for anything but the tensors.

    Raises:
        ProgeoError: the tensors are not those of such a network; the message names ``where`` they are from, and
            ``what`` the network is, if that says more than its backbone.
    """
    network = (
        build(spec, trust_remote_code=trust_remote_code, device=device)
        if find_hub_address(spec)
        else _build_empty(spec, where, len(tensors))
    )
    fit_positions(network, tensors)
    expected = network.state_dict()
    try:
        check_tensors(tensors, expected, where, what or f"{spec.backbone}, descriptor_dim {spec.descriptor_dim}")
    except ProgeoError as error:
        guess = identify(tensors)
        raise ProgeoError(f"{error}{f' The file looks like {guess}.' if guess else ''}") from error
    check_values(network, tensors, where)
    if any(tensor.is_meta for tensor in _find_lost_tensors(network)):
        network = build(spec)
        fit_positions(network, tensors)
    given = {name: tensors[name].to(tensor.dtype) for name, tensor in expected.items()}
    network.load_state_dict(given, assign=True)
    return network.eval()


def _build_empty(spec: ModelSpec, where: object, tensors: int) -> PlaceNetwork:
    """Return the network without memory for its weights, where its parts can be made so.

    Raises:
        ProgeoError: it cannot be made, or has many more tensors than the file; the message names ``where`` that is.
    """
    try:
        with _limit_tensors(TENSORS_BESIDE + 2 * tensors, where):
            try:
                with torch.device("meta"):
                    return build(spec)
            except (NotImplementedError, RuntimeError):  # a constructor that computes with its tensors
                return build(spec)
    except ProgeoError:
        raise
    except Exception as error:  # constructors raise anything on sizes that cannot be
        reason = " ".join(str(error).split())[:200]
        raise explain_damage(where, ValueError(f"no {spec.describe()} can be made: {reason}")) from error


@contextmanager
def _limit_tensors(most: int, where: object) -> Iterator[None]:
    """Stop modules from registering more than so many tensors: one number in a file can ask for millions of layers."""
    count = 0
    thread = threading.get_ident()

    def register(module: nn.Module, name: str, tensor: torch.Tensor | None) -> None:
        nonlocal count
        count += threading.get_ident() == thread
        if count > most:
            raise explain_damage(where, ValueError("it describes a network with many more tensors than the file holds"))

    handles = [
        torch.nn.modules.module.register_module_parameter_registration_hook(register),
        torch.nn.modules.module.register_module_buffer_registration_hook(register),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def check_values(network: nn.Module, tensors: Mapping[str, torch.Tensor], where: object) -> None:
    """Raise ProgeoError if a tensor is of another kind of number than the network's, or holds NaN."""
    for name, tensor in network.state_dict().items():
        given = tensors[name]
        is_kind = given.is_floating_point() if tensor.is_floating_point() else given.dtype == tensor.dtype
        if not is_kind or (tensor.is_floating_point() and bool(given.isnan().any())):
            what = "holds NaN" if is_kind else f"is {given.dtype} instead of {tensor.dtype}"
            raise ProgeoError(f"The weights in {where} are damaged: {name} {what}. Take another copy of the file.")


def _find_lost_tensors(network: nn.Module) -> list[torch.Tensor]:
    """Return the tensors that a state dict does not bring: buffers that are not persistent, plain attributes."""
    kept = set(network.state_dict())
    buffers = [buffer for name, buffer in network.named_buffers() if name not in kept]
    plain = [value for module in network.modules() for value in vars(module).values()]
    return buffers + [value for value in plain if isinstance(value, torch.Tensor)]


def identify(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return what network ``tensors`` belong to, like ``ResNet50, descriptor_dim 128``, or nothing if unknown."""
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
            return f"{name}, descriptor_dim {dimension}"
    return f"descriptor_dim {dimension}, backbone unknown"


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
        f"{path} is a state dict, which does not say what network it is of. Give `backbone` and `descriptor_dim`; "
        f"it looks like {identify(tensors)}."
    )


def _check_agreement(spec: ModelSpec, asked: Mapping[str, str | int | None], path: str | Path) -> None:
    if any(value is not None and value != getattr(spec, key) for key, value in asked.items()):
        options = ", ".join(f"`{key}` {value}" for key, value in asked.items() if value is not None)
        raise ProgeoError(
            f"{path} is {spec.backbone}, descriptor_dim {spec.descriptor_dim}, but {options} was asked for. "
            "Give what the file is, or neither."
        )


def _read_spec(entries: Mapping[str, str], path: str | Path) -> ModelSpec:
    """Return the spec of a model file of any format so far."""
    try:
        content = {key: parse_json(value) for key, value in entries.items()}
        version = read_value(int, content["format_version"], "format_version")
    except ValueError as error:
        raise explain_damage(path, error) from error
    if version > FORMAT_VERSION:
        raise ProgeoError(
            f"{path} is a model file of format {version}, this progeo {_progeo_version()} reads up "
            f"to {FORMAT_VERSION}. Please update progeo."
        )
    return ModelSpec.from_dict(content.get("spec") if version > 1 else _convert_card(content, path), path)


def _convert_card(card: Mapping[str, Any], path: str | Path) -> dict[str, Any]:
    """Return what progeo 0.1.0 wrote into a model file (format 1) as a spec."""
    try:
        return {
            "backbone": str(card["backbone"]),
            "backbone_arguments": {},
            "head": find_backbone(str(card["backbone"])).head,
            "head_arguments": {},
            "preprocessing": card["preprocessing"],
            "descriptor_dim": card["fc_output_dim"],
            "licence": str(card.get("licence", "")),
            "provenance": {
                key: card[key] for key in ("training", "metrics", "created", "progeo_version") if key in card
            },
        }
    except KeyError as error:
        raise explain_damage(path, ValueError(f"{error.args[0]} is missing")) from error


def _progeo_version() -> str:
    try:
        return metadata.version("progeo")
    except metadata.PackageNotFoundError:  # used from a clone, through torch.hub
        return "not installed"


def _to_plain(value: Any) -> Any:
    """Turn numpy and torch scalars into numbers and anything else, such as paths, into text."""
    return value.item() if hasattr(value, "item") else str(value)
