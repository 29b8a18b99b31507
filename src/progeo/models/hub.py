"""Models that others publish, loaded by their torch.hub address, each with the images that it wants.

Loading from torch.hub downloads somebody's code and runs it. That needs the user's word, every time.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from progeo.errors import ProgeoError
from progeo.models.features import FeatureShapes
from progeo.models.foreign import ForeignCode, explain_foreign_errors
from progeo.models.heads import create_head
from progeo.models.network import PlaceNetwork
from progeo.models.probing import probe_model
from progeo.models.spec import ModelSpec
from progeo.pixels.recipe import Preprocessing

PREFIX = "hub:"
SEE_REPOSITORY = "see its repository"


@dataclass(frozen=True)
class HubModel:
    """What is known of a published model: where it is, and how it was evaluated by its authors.

    ``parameters`` are the names of the entry's arguments that follow the model's name after colons, and ``arguments``
    what holds without them.
    """

    repository: str
    entry: str
    dimensions: tuple[int, ...]
    source: str
    licence: str = SEE_REPOSITORY
    parameters: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    patch: int = 1
    """Height and width must be multiples of this many pixels."""
    batch_dependent: bool = False
    """Whether a photo's descriptor depends on the photos that share its batch."""
    takes_device: bool = False
    """Whether the entry must be told where to compute, because the model cannot be moved afterwards."""


def _square(image_size: int, interpolation: str = "bilinear") -> Preprocessing:
    return Preprocessing(image_size=image_size, interpolation=interpolation, square=True)


HUB_MODELS: dict[str, HubModel] = {
    "cricavpr": HubModel(
        "Lu-Feng/CricaVPR",
        "trained_model",
        (10752,),
        "CricaVPR (CVPR 2024, arXiv 2402.19231)",
        preprocessing=_square(224),
        batch_dependent=True,
    ),
    "anyloc": HubModel(
        "AnyLoc/DINO",
        "get_vlad_model",
        (49152,),
        "AnyLoc (RA-L 2023, arXiv 2308.00688)",
        licence="BSD-3-Clause",
        parameters=("domain",),
        arguments={"backbone": "DINOv2", "domain": "urban"},
        patch=14,
        takes_device=True,
    ),
}
"""Published models by the name that ``model`` takes, with ``:`` and arguments behind it."""

OLD_NAMES = {
    "megaloc": f"{PREFIX}gmberton/MegaLoc:get_trained_model:input_size=322",
    "salad": f"{PREFIX}serizba/salad:dinov2_salad:input_size=322",
    "boq-resnet50": f"{PREFIX}amaralibey/bag-of-queries:get_trained_boq:backbone_name=resnet50:output_dim=16384:"
    "input_size=384:interpolation=bicubic",
    "boq-dinov2": f"{PREFIX}amaralibey/bag-of-queries:get_trained_boq:backbone_name=dinov2:output_dim=12288:"
    "input_size=322:interpolation=bicubic",
    "eigenplaces": f"{PREFIX}gmberton/eigenplaces:get_trained_model",
}
"""Addresses of models that were once loaded from torch.hub under the names that progeo's own now have: model files and
place databases of then go on with the code that they were made with."""


class HubBackbone(nn.Module):
    """A foreign model: images (B, 3, H, W) in, whatever their size; descriptors (B, D) out."""

    is_foreign = True
    """It is never folded."""

    def __init__(self, model: Any, patch: int, code: ForeignCode) -> None:
        """Keep ``model``; ``patch`` is what height and width must be multiples of, ``code`` where it comes from."""
        super().__init__()
        self.model = _unwrap(model)
        self.patch = patch
        self.code = code

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the descriptors, the first of several outputs.

        Raises:
            ProgeoError: the foreign code raises or exits.
        """
        height, width = (max(self.patch, round(side / self.patch) * self.patch) for side in images.shape[2:])
        if (height, width) != tuple(images.shape[2:]):
            images = F.interpolate(images, (height, width), mode="bilinear", antialias=True)
        with self.code.running(f"{self.code.name} cannot encode images of {width}x{height} pixels"):
            output = self.model(images)
        descriptors: torch.Tensor = output[0] if isinstance(output, tuple | list) else output
        return descriptors


def is_hub_address(name: str) -> bool:
    """Return whether a name is one of this module's, like ``cricavpr``, ``anyloc:urban``, ``hub:repository:entry``."""
    return name.startswith(PREFIX) or name.partition(":")[0] in HUB_MODELS


def find_hub_address(spec: ModelSpec) -> str | None:
    """Return the address of the foreign code that a spec names, or None where it is a model of progeo's own."""
    if is_hub_address(spec.backbone):
        return spec.backbone
    name, *values = spec.backbone.split(":")
    if name not in OLD_NAMES or "files_hash" not in spec.provenance:
        return None
    parameters = [f"{key}={value}" for key, value in zip(("backbone", "fc_output_dim"), values, strict=False)]
    return ":".join([OLD_NAMES[name], *parameters])


def load_hub_model(
    address: str,
    *,
    trust_remote_code: bool,
    device: torch.device | str = "cpu",
    files_hash: str | None = None,
) -> PlaceNetwork:
    """Load a model from torch.hub, in evaluation mode.

    Args:
        address: a name of HUB_MODELS with values of its ``parameters`` behind it (``anyloc:indoor``), or
            ``hub:<repository>:<entry>[:key=value…]``: a GitHub repository or a folder with a ``hubconf.py``, a function
            in that, and its arguments. Of the keys, ``input_size`` (pixels; photos become squares of it),
            ``interpolation`` (``bilinear``, ``bicubic``), ``patch`` and ``batch_dependent`` (as in ``HubModel``) say
            how the model wants its photos, and are not passed on.
        trust_remote_code: that the user lets the code of the repository run.
        device: where the model will be used; only told to entries that ask.
        files_hash: that the code must have; other code is not run.

    Raises:
        ProgeoError: it is not trusted, has changed, cannot be loaded, or is no model from images to descriptors.
    """
    model = _parse_address(address)
    if not trust_remote_code:
        raise ProgeoError(
            f"{address} runs code from {model.repository} on this machine, with all your rights. If you trust it, give "
            "`trust_remote_code` (in Python: trust_remote_code=True)."
        )
    arguments = dict(model.arguments) | ({"device": str(device)} if model.takes_device else {})
    is_local = Path(model.repository).is_dir()
    cache = f"what it downloads must lie in {torch.hub.get_dir()}: copy that from a machine where it has run."
    advice = f" Without a network, {cache}"
    if not is_local:
        advice = f" Without a network, clone the repository and give `model` hub:FOLDER:ENTRY:key=value; {cache}"
    with explain_foreign_errors(f"Cannot load {address} from {model.repository}", advice):
        folder = fetch_repository(model.repository)
    code = ForeignCode(folder, address)
    found_hash = code.compute_hash()
    if files_hash not in (None, found_hash):
        raise ProgeoError(
            f"The code of {address} in {folder} has changed: its hash is {found_hash[:12]}, but this model was made "
            f"with code of hash {str(files_hash)[:12]}. Bring that version back, or make the model anew."
        )
    with code.running(f"Cannot load {address} from {model.repository}", advice):
        loaded = torch.hub.load(  # type: ignore[no-untyped-call]
            str(folder), model.entry, source="local", trust_repo=True, verbose=False, **arguments
        )
        backbone = HubBackbone(loaded, model.patch, code).eval()
        probe = probe_model(backbone, model.preprocessing)
    if is_local and address.startswith(PREFIX):  # to be found from another folder too
        address = PREFIX + str(folder) + address.removeprefix(PREFIX + model.repository)
    head, _ = create_head("identity", FeatureShapes(cls=probe.dimension))
    spec = ModelSpec(
        backbone=address,
        head="identity",
        preprocessing=model.preprocessing,
        descriptor_dim=probe.dimension,
        licence=model.licence,
        provenance={
            "source": address if address.startswith(PREFIX) else model.source,
            "repository": str(folder) if is_local else model.repository,
            "files_hash": found_hash,
            "batch_dependent": model.batch_dependent or probe.batch_dependent,
        },
    )
    return PlaceNetwork(backbone, head, spec).eval()


def build_hub_model(spec: ModelSpec, *, trust_remote_code: bool, device: torch.device | str = "cpu") -> PlaceNetwork:
    """Return the network of a spec that ``load_hub_model`` made, by the same code; its weights are still to be loaded.

    Raises:
        ProgeoError: as ``load_hub_model``, or the code has changed since.
    """
    network = load_hub_model(
        find_hub_address(spec) or spec.backbone,
        trust_remote_code=trust_remote_code,
        device=device,
        files_hash=spec.provenance.get("files_hash"),
    )
    if spec.head != network.spec.head:  # principal components behind the model's own
        shapes = FeatureShapes(cls=network.descriptor_dim)
        network.aggregation, _ = create_head(spec.head, shapes, spec.descriptor_dim, spec.head_arguments)
    network.spec = spec
    return network


def fetch_repository(repository: str) -> Path:
    """Return the folder of a repository: itself, or the copy that torch.hub keeps, fetched if it is not there."""
    if Path(repository).is_dir():
        return Path(repository).resolve()
    # Not by torch.hub.load, which would run the code before anybody has seen whether it is the one expected.
    fetch: Any = torch.hub._get_cache_or_reload
    older = {"calling_fn": "load"} if "calling_fn" in inspect.signature(fetch).parameters else {}
    with redirect_stdout(sys.stderr):
        return Path(fetch(repository, force_reload=False, trust_repo=True, verbose=False, **older)).resolve()


def _unwrap(model: Any) -> Any:
    """Return a model without what spreads batches over all devices there are."""
    if isinstance(model, nn.DataParallel):
        return _unwrap(model.module)
    if isinstance(model, nn.Module):
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.DataParallel):
                    setattr(parent, name, _unwrap(child))
    return model


def _parse_address(address: str) -> HubModel:
    if address.startswith(PREFIX):
        return _parse_hub_address(address)
    name, *values = address.split(":")
    model = HUB_MODELS[name]
    if len(values) > len(model.parameters):
        form = ":".join([name, *(f"<{parameter}>" for parameter in model.parameters)])
        raise ProgeoError(f"{address} says more than {form} can.")
    given = dict(zip(model.parameters, map(_parse_value, values), strict=False))
    return dataclasses.replace(model, arguments={**model.arguments, **given})


def _parse_hub_address(address: str) -> HubModel:
    form = f"{PREFIX}<repository>:<entry>[:key=value...], such as {PREFIX}gmberton/MegaLoc:get_trained_model"
    drive, path = re.match(r"([A-Za-z]:(?=[\\/]))?(.*)", address.removeprefix(PREFIX), re.DOTALL).groups()  # type: ignore[union-attr]
    repository, *rest = path.split(":")
    repository = f"{drive or ''}{repository}"
    entry, *pairs = rest or [""]
    if not repository or not entry or not all("=" in pair for pair in pairs):
        raise ProgeoError(f"'{address}' is no address of torch.hub. The form is {form}.")
    if not Path(repository).is_dir() and repository.count("/") != 1:
        raise ProgeoError(f"'{address}': {repository} is neither a folder nor a repository like OWNER/NAME.")
    arguments = {key: _parse_value(value) for key, _, value in (pair.partition("=") for pair in pairs)}
    input_size = arguments.pop("input_size", None)
    interpolation = arguments.pop("interpolation", "bilinear")
    if input_size is not None and (not isinstance(input_size, int) or input_size < 1):
        raise ProgeoError(f"'{address}': input_size is the side of a square in pixels, not {input_size}.")
    if interpolation not in ("bilinear", "bicubic"):
        raise ProgeoError(f"'{address}': interpolation is bilinear or bicubic, not {interpolation}.")
    patch, batch_dependent = arguments.pop("patch", 1), arguments.pop("batch_dependent", False)
    if not isinstance(patch, int) or patch < 1:
        raise ProgeoError(f"'{address}': patch is the pixels that sides must be multiples of, not {patch}.")
    preprocessing = _square(input_size, interpolation) if input_size else Preprocessing(interpolation=interpolation)
    return HubModel(
        repository,
        entry,
        (),
        address,
        arguments=arguments,
        preprocessing=preprocessing,
        patch=patch,
        batch_dependent=bool(batch_dependent),
    )


def _parse_value(text: str) -> Any:
    """Return a number, True or False where the text is one, otherwise the text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
