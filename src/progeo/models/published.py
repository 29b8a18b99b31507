"""The published CosPlace models, and the one door to any trained model."""

from __future__ import annotations

import dataclasses
import errno
import http.client
import urllib.request
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from progeo.console import console, progress_bar
from progeo.devices import choose_device
from progeo.errors import ProgeoError
from progeo.files import atomic_write
from progeo.models.backbones.registry import is_backbone, list_backbones, suggest
from progeo.models.files import load_model_file
from progeo.models.hub import HUB_MODELS, is_hub_address, load_hub_model
from progeo.models.network import PlaceNetwork, create_untrained
from progeo.models.recipes import parse_recipe

if TYPE_CHECKING:
    from progeo.pixels.recipe import Source

RELEASE = "https://github.com/gmberton/CosPlace/releases/download/v1.0"
PREFIX = "cosplace:"

PUBLISHED: dict[str, tuple[int, ...]] = {
    "ResNet18": (32, 64, 128, 256, 512),
    "ResNet50": (32, 64, 128, 256, 512, 1024, 2048),
    "ResNet101": (32, 64, 128, 256, 512, 1024, 2048),
    "ResNet152": (32, 64, 128, 256, 512, 1024, 2048),
    "VGG16": (64, 128, 256, 512),
}
"""The dimensions that CosPlace published, per backbone: 30 models trained on San Francisco eXtra Large."""


def list_models(pattern: str = "*") -> list[str]:
    """Return the names that ``load_model`` takes and that match a pattern such as ``*ResNet50*``, in any case.

    They are the published models, and all backbones: models without training. A family of backbones reads like
    ``timm:<name>``.
    """
    cosplace = [f"{PREFIX}{backbone}:{size}" for backbone, sizes in PUBLISHED.items() for size in sizes]
    published = [name for name, model in HUB_MODELS.items() if model.entry]
    names = [*cosplace, *published, *list_backbones()]
    return [name for name in names if fnmatch(name.lower(), pattern.lower())]


def load_model(
    name_or_path: str | Path,
    *,
    device: torch.device | str = "cpu",
    trust_remote_code: bool = False,
    backbone: str | None = None,
    descriptor_dim: int | None = None,
    fc_output_dim: int | None = None,
) -> PlaceNetwork:
    """Load a model in evaluation mode.

    Args:
        name_or_path: a published model like ``cosplace:ResNet50:2048`` or ``megaloc`` (see ``list_models``), a model
            file of progeo, a state dict, or a backbone like ``ResNet18``, which is then a model without training.
        device: where it will be: ``cpu``, ``cuda``, ``mps`` or ``auto``.
        trust_remote_code: let models of torch.hub run their own code.
        backbone: needed for a state dict, which does not say it (see ``load_model_file``).
        descriptor_dim: likewise.
        fc_output_dim: the same, as it is called where it was published.

    Raises:
        ProgeoError: there is no such model, or the file is not one, or not the one asked for.
    """
    device = choose_device(str(device))
    descriptor_dim = fc_output_dim if descriptor_dim is None else descriptor_dim
    name = str(name_or_path)
    is_file = Path(name).is_file()
    if is_file:
        network = load_model_file(
            name,
            backbone=backbone,
            descriptor_dim=descriptor_dim,
            trust_remote_code=trust_remote_code,
            device=device,
        )
    elif name.startswith(PREFIX):
        network = _load_cosplace(name, backbone, descriptor_dim)
    elif is_hub_address(name):
        if backbone is not None or descriptor_dim is not None:
            raise ProgeoError(f"{name} is a model of torch.hub: it takes neither `backbone` nor `descriptor_dim`.")
        network = load_hub_model(name, trust_remote_code=trust_remote_code, device=device)
    elif is_backbone(name):
        if backbone is not None or descriptor_dim is not None:
            raise ProgeoError(f"{name} is a backbone, untrained: it takes neither `backbone` nor `descriptor_dim`.")
        network = create_untrained(name)
    elif parse_recipe(name):
        raise ProgeoError(
            f"'{name}' is no model yet: it is fitted to photos. progeo fit PHOTOS, or progeo.fit in Python, makes a "
            "model file; indexing and evaluation fit it to their own photos."
        )
    else:
        example = f"{PREFIX}ResNet50:2048"
        near = suggest(name.partition(":")[0], [*HUB_MODELS, *list_backbones()])
        raise ProgeoError(
            f"There is no model file {name}{near}. Give the path of one, or a published model like {example}."
        )
    return network.to(device)


def encode(
    model: PlaceNetwork | str | Path,
    photos: Source | Sequence[Source],
    *,
    device: torch.device | str | None = None,
    batch_size: int = 16,
    num_workers: int | None = None,
    progress: bool = False,
    output: Literal["numpy", "torch"] = "numpy",
    trust_remote_code: bool = False,
) -> Any:
    """Return the descriptors of photos, as ``PlaceNetwork.encode`` does; ``model`` may be what ``load_model`` takes."""
    network = model if isinstance(model, PlaceNetwork) else load_model(model, trust_remote_code=trust_remote_code)
    return network.encode(
        photos, device=device, batch_size=batch_size, num_workers=num_workers, progress=progress, output=output
    )


def _load_cosplace(name: str, backbone: str | None, descriptor_dim: int | None) -> PlaceNetwork:
    published_backbone, _, dimension = name.removeprefix(PREFIX).partition(":")
    if not dimension.isdecimal():
        raise ProgeoError(f"'{name}' is no published model. The form is {PREFIX}<backbone>:<dimension>. {_list()}")
    if backbone not in (None, published_backbone) or descriptor_dim not in (None, int(dimension)):
        raise ProgeoError(
            f"{name} is no `backbone` {backbone} `descriptor_dim` {descriptor_dim}. Give `backbone` "
            f"{published_backbone} `descriptor_dim` {dimension}, or neither."
        )
    return get_trained_model(published_backbone, int(dimension))


def get_trained_model(backbone: str = "ResNet50", fc_output_dim: int = 2048, *, release: str = RELEASE) -> PlaceNetwork:
    """Return a model that the authors of CosPlace trained on San Francisco eXtra Large, in evaluation mode.

    It is fetched once into ``<torch.hub.get_dir()>/checkpoints``. The authors published no hashes, so what arrives
    is checked by the size that the server announces and by the name and shape of every tensor; it is read as
    plain tensors only.

    Args:
        backbone: ResNet18, ResNet50, ResNet101, ResNet152 or VGG16.
        fc_output_dim: dimension of the descriptors, from 32 to 2048 depending on the backbone (``PUBLISHED``).
        release: address of the folder that holds the files; for mirrors.

    Raises:
        ProgeoError: there is no such published model, or it cannot be fetched.
    """
    if fc_output_dim not in PUBLISHED.get(backbone, ()):
        hint = suggest(backbone, PUBLISHED) if backbone not in PUBLISHED else ""
        raise ProgeoError(f"CosPlace published no {backbone} with fc_output_dim {fc_output_dim}{hint}. {_list()}")
    path = Path(torch.hub.get_dir()) / "checkpoints" / f"{backbone}_{fc_output_dim}_cosplace.pth"
    address = f"{release.rstrip('/')}/{path.name}"
    network = _load_cached(path, backbone, fc_output_dim)
    if network is None:
        download(address, path)
        network = load_model_file(path, backbone=backbone, descriptor_dim=fc_output_dim)
    provenance = {
        "training": {"method": "CosPlace (arXiv 2204.02287)", "dataset": "San Francisco eXtra Large"},
        "source": address,
    }
    network.spec = dataclasses.replace(network.spec, licence="MIT", provenance=provenance)
    return network


def download(address: str, path: Path) -> None:
    """Fetch ``address`` to ``path`` with a progress bar (MiB), atomically; an incomplete answer leaves no file.

    Raises:
        ProgeoError: the address cannot be reached or the answer is cut short; the message says what to do by hand.
    """
    with atomic_write(path) as temporary:
        try:
            received, announced = _fetch(address, temporary, path.name)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise
            raise ProgeoError(
                f"Cannot fetch {address} ({error}). Fetch it on a machine that can, and put it at {path}."
            ) from error
        if announced is not None and received != announced:
            raise ProgeoError(
                f"The download of {address} broke off: {received} of {announced} bytes arrived. Please try again, or "
                f"fetch it by hand and put it at {path}."
            )


def _fetch(address: str, path: Path, description: str) -> tuple[int, int | None]:
    """Copy ``address`` to ``path``; return how many bytes arrived and how many were announced, if that was said."""
    mebibyte = 2**20
    with urllib.request.urlopen(address, timeout=30) as answer, path.open("wb") as file, progress_bar() as progress:
        length = answer.headers.get("Content-Length")
        announced = int(length) if length else None
        task = progress.add_task(f"{description} (MiB)", total=announced / mebibyte if announced else None)
        received = 0
        while chunk := answer.read(mebibyte):
            file.write(chunk)
            received += len(chunk)
            progress.update(task, completed=received / mebibyte)
    return received, announced


def _load_cached(path: Path, backbone: str, fc_output_dim: int) -> PlaceNetwork | None:
    """Return the network of the cached file, or None where there is none, or a broken one, which is reported."""
    if not path.is_file():
        return None
    try:
        return load_model_file(path, backbone=backbone, descriptor_dim=fc_output_dim)
    except ProgeoError as error:
        console.print(f"The cached model is broken and is fetched again: {error}")
        return None


def _list() -> str:
    models = "; ".join(f"{backbone} {', '.join(map(str, dimensions))}" for backbone, dimensions in PUBLISHED.items())
    return f"Published are: {models}."
