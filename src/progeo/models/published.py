"""The published models, and the one door to any network."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch

from progeo.console import console
from progeo.devices import choose_device
from progeo.errors import ProgeoError, suggest
from progeo.models.backbones.registry import find_backbone, is_backbone, list_backbones
from progeo.models.building import create_untrained
from progeo.models.catalogue import COSPLACE, COSPLACE_RELEASE, PublishedModel, list_published, make_cosplace
from progeo.models.downloads import download
from progeo.models.engines.graphs import is_graph
from progeo.models.files import load_model_file, load_weights
from progeo.models.hub import HUB_MODELS, is_hub_address, load_hub_model
from progeo.models.network import PlaceNetwork
from progeo.models.recipes import parse_recipe
from progeo.models.repositories import is_repository, load_from_hub
from progeo.models.state_dicts import read_tensors

if TYPE_CHECKING:
    from progeo.pixels.recipe import Preprocessing

FAMILIES = ("cosplace:", "eigenplaces:", "mixvpr:")
"""How names of published models begin that say more behind it."""


@overload
def list_models(pattern: str = "*", *, details: Literal[False] = False) -> list[str]: ...


@overload
def list_models(pattern: str = "*", *, details: Literal[True]) -> list[dict[str, Any]]: ...


def list_models(pattern: str = "*", *, details: bool = False) -> list[str] | list[dict[str, Any]]:
    """Return the names that ``load_model`` takes and that match a pattern such as ``*ResNet50*``, in any case.

    They are the published models, and all backbones: models without training. A family of backbones reads like
    ``timm:<name>``.

    Args:
        pattern: ``*`` stands for anything.
        details: return a dict for each model in place of its name: ``name``, ``photos`` (the size that it takes),
            ``dimension`` of the descriptors, ``licence`` of the weights, ``trained_on``, and ``cached``, whether the
            weights are on this machine. None is what depends on more, or is not known before the model is loaded.
    """
    rows = {
        **{name: _describe_published(model) for name, model in list_published().items()},
        **{
            name: _describe(model.preprocessing, model.dimensions[0], model.licence, None)
            for name, model in HUB_MODELS.items()
        },
        **dict.fromkeys(list_backbones()),
    }
    names = [name for name in rows if fnmatch(name.lower(), pattern.lower())]
    if not details:
        return names
    return [{"name": name, **(rows[name] or _describe_backbone(name))} for name in names]


def load_network(
    name: str,
    *,
    device: torch.device | str = "cpu",
    trust_remote_code: bool = False,
    backbone: str | None = None,
    descriptor_dim: int | None = None,
) -> PlaceNetwork:
    """Load a model that PyTorch runs, which can be trained and exported; see ``progeo.models.loading.load_model``.

    Raises:
        ProgeoError: as of ``load_model``; or it is an exported graph, which holds no network.
    """
    if is_graph(name):
        raise ProgeoError(
            f"{name} is an exported graph, which cannot be trained, exported or brought to another size: give the "
            "model file that it was exported from."
        )
    device = choose_device(str(device))
    if Path(name).is_file():
        network = load_model_file(
            name,
            backbone=backbone,
            descriptor_dim=descriptor_dim,
            trust_remote_code=trust_remote_code,
            device=device,
        )
    elif published := _find_published(name):
        _check_asked(published, backbone, descriptor_dim)
        network = load_published(published)
    elif is_repository(name):
        if backbone is not None or descriptor_dim is not None:
            raise ProgeoError(f"{name} says what it is: leave out `backbone` and `descriptor_dim`.")
        network = load_from_hub(name, trust_remote_code=trust_remote_code, device=str(device))
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
        example = "cosplace:ResNet50:2048"
        near = suggest(name, [*list_published(), *HUB_MODELS, *list_backbones()])
        raise ProgeoError(
            f"There is no model file {name}{near}. Give the path of one, or a published model like {example}."
        )
    return network.to(device)


def get_trained_model(
    backbone: str = "ResNet50", fc_output_dim: int = 2048, *, release: str = COSPLACE_RELEASE
) -> PlaceNetwork:
    """Return a model that the authors of CosPlace trained on San Francisco eXtra Large, in evaluation mode.

    Args:
        backbone: ResNet18, ResNet50, ResNet101, ResNet152 or VGG16.
        fc_output_dim: dimension of the descriptors, from 32 to 2048 depending on the backbone (``COSPLACE``).
        release: address of the folder that holds the files; for mirrors.

    Raises:
        ProgeoError: there is no such published model, or it cannot be fetched.
    """
    if fc_output_dim not in COSPLACE.get(backbone, ()):
        hint = suggest(backbone, COSPLACE) if backbone not in COSPLACE else ""
        models = "; ".join(f"{name} {', '.join(map(str, dimensions))}" for name, dimensions in COSPLACE.items())
        raise ProgeoError(
            f"CosPlace published no {backbone} with fc_output_dim {fc_output_dim}{hint}. Published are: {models}."
        )
    return load_published(make_cosplace(backbone, fc_output_dim, release))


def load_published(model: PublishedModel) -> PlaceNetwork:
    """Return a published model in evaluation mode.

    Its weights are fetched once into ``<torch.hub.get_dir()>/checkpoints``. The authors published no hashes, so what
    arrives is checked by the size that the server announces and by the name and shape of every tensor; it is read as
    plain tensors only.

    Raises:
        ProgeoError: the weights cannot be fetched, are those of another model, or must be fetched by hand.
    """
    path = find_cached(model)
    if path.is_file():
        try:
            return _load_file(model, path)
        except ProgeoError as error:
            if model.by_hand:
                raise
            console.print(f"The cached model is broken and is fetched again: {error}")
    if model.by_hand:
        raise ProgeoError(
            f"The weights of {model.name} are not on this machine, and no program can fetch them where they are. "
            f"Follow the link to them in the README of {model.address}, and put the file at {path}."
        )
    download(model.address, path)
    return _load_file(model, path)


def find_cached(model: PublishedModel) -> Path:
    """Return where the weights of a published model are, once they have been fetched: also by torch.hub itself."""
    return Path(torch.hub.get_dir()) / "checkpoints" / model.file


def _load_file(model: PublishedModel, path: Path) -> PlaceNetwork:
    published = read_tensors(path)[0]
    tensors = {model.rename(name): tensor for name, tensor in published.items() if name not in model.ignored}
    spec = replace(model.spec, provenance=dict(model.spec.provenance))
    return load_weights(spec, tensors, path, what=model.name)


def _find_published(name: str) -> PublishedModel | None:
    """Return the published model of a name, or None where the name is of something else.

    Raises:
        ProgeoError: the name begins as those of published models do, but there is no such one.
    """
    known = list_published()
    family = f"{name.partition(':')[0]}:"
    if name in known or family not in FAMILIES:
        return known.get(name)
    form = ":".join([family[:-1], *(["<backbone>"] if family != "mixvpr:" else []), "<dimension>"])
    names = [one for one in known if one.startswith(family)]
    raise ProgeoError(
        f"'{name}' is no published model{suggest(name, names)}. The form is {form}. Published are: {', '.join(names)}."
    )


def _check_asked(model: PublishedModel, backbone: str | None, descriptor_dim: int | None) -> None:
    """Raise ProgeoError if another backbone or dimension is asked for than a published model has."""
    spec = model.spec
    if backbone not in (None, spec.backbone) or descriptor_dim not in (None, spec.descriptor_dim):
        raise ProgeoError(
            f"{model.name} is no `backbone` {backbone} `descriptor_dim` {descriptor_dim}. Give `backbone` "
            f"{spec.backbone} `descriptor_dim` {spec.descriptor_dim}, or neither."
        )


def _describe_published(model: PublishedModel) -> dict[str, Any]:
    spec = model.spec
    cached = find_cached(model).is_file()
    return _describe(spec.preprocessing, spec.descriptor_dim, spec.licence, model.trained_on, cached)


def _describe_backbone(name: str) -> dict[str, Any]:
    """Return the details of a backbone without training."""
    if name.endswith("<name>"):
        return {"photos": None, "dimension": None, "licence": None, "trained_on": None, "cached": None}
    entry = find_backbone(name)
    return _describe(entry.own_preprocessing or entry.preprocessing, None, entry.licence, entry.source)


def _describe(
    photos: Preprocessing, dimension: int | None, licence: str, trained_on: str | None, cached: bool | None = None
) -> dict[str, Any]:
    return {
        "photos": photos.describe(),
        "dimension": dimension,
        "licence": licence,
        "trained_on": trained_on,
        "cached": cached,
    }
