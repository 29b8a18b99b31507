"""Telling one model from another: a hash of its weights, and of what else its results depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from progeo.files import check_file
from progeo.models.spec import ModelSpec

if TYPE_CHECKING:
    import torch

    from progeo.models.network import PlaceNetwork

PUBLISHED_HEADS = ("gem", "identity")
"""Those of 0.1.0, which backbone and dimension decided."""


def compute_fingerprint(network: PlaceNetwork) -> str:
    """Return 64 hexadecimal digits that two networks share only if they give the same descriptors."""
    return fingerprint_model(network, **_list_settings(network.spec))


def fingerprint_model(network: torch.nn.Module, **settings: object) -> str:
    """Return 64 hexadecimal digits: the hash of all weights and of the settings, such as resizing."""
    return _hash(settings, _describe(network.state_dict()))


def fingerprint_tensors(spec: ModelSpec, tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the fingerprint of the network of a spec with these weights, if it takes them as they are."""
    return _hash(_list_settings(spec), _describe(tensors))


def fingerprint_file(path: str | Path) -> tuple[str, ModelSpec] | None:
    """Return the fingerprint of the network that a model file holds, and its spec, without PyTorch.

    None is returned for other files, for those of 0.1.0, and for tensors that NumPy does not know.
    """
    from safetensors import SafetensorError, safe_open

    try:
        check_file(path)
        with safe_open(path, framework="np") as file:
            entries = file.metadata() or {}
            if entries.get("format_version") != "2":
                return None
            spec = ModelSpec.from_json(entries["spec"], path)
            tensors = ((name, file.get_tensor(name)) for name in sorted(file.keys()))
            described = ((name, array.shape, f"torch.{array.dtype}", array.tobytes()) for name, array in tensors)
            return _hash(_list_settings(spec), described), spec
    except (SafetensorError, OSError, TypeError, ValueError, KeyError):  # loading the file says what is wrong
        return None


def _list_settings(spec: ModelSpec) -> dict[str, Any]:
    """Return what descriptors depend on beside the weights."""
    settings: dict[str, Any] = {
        "backbone": spec.backbone,
        "fc_output_dim": spec.descriptor_dim,  # as 0.1.0 called it, so that its databases keep their fingerprint
        "preprocessing": spec.preprocessing.to_dict(),
    }
    if spec.head not in PUBLISHED_HEADS or spec.head_arguments:
        settings |= {"head": spec.head, "head_arguments": spec.head_arguments}
    if spec.backbone_arguments:
        settings["backbone_arguments"] = spec.backbone_arguments
    return settings


def _describe(tensors: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, tuple[int, ...], str, Any]]:
    import torch

    for name, tensor in sorted(tensors.items()):
        content = tensor.cpu().contiguous().flatten().view(torch.uint8).numpy()
        yield name, tuple(tensor.shape), str(tensor.dtype), content


def _hash(settings: dict[str, Any], tensors: Iterable[tuple[str, tuple[int, ...], str, Any]]) -> str:
    digest = hashlib.sha256(repr(sorted(settings.items())).encode())
    for name, shape, dtype, content in tensors:
        digest.update(f"\n{name} {shape} {dtype} ".encode())
        digest.update(content)
    return digest.hexdigest()
