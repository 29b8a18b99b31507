"""Settings that depend on the model and on each other: filled in and checked, before anything is read or written."""

from __future__ import annotations

import copy
import dataclasses
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import yaml

from progeo.devices import derive_seed
from progeo.errors import ProgeoError
from progeo.files import CONFIG, read_text
from progeo.models.backbones.create import find_backbone
from progeo.models.building import create_model, find_usual_dimension
from progeo.models.heads import find_head
from progeo.models.network import PlaceNetwork
from progeo.models.spec import ModelSpec
from progeo.models.weights import check_weights_option
from progeo.training.method import Method, find_method
from progeo.training.settings import TrainSettings
from progeo.training.state import KEPT_SETTINGS, LAST_CHECKPOINT, list_differences

PUBLISHED_CELLS = {"M": 10, "alpha": 30, "N": 5, "L": 2}
PUBLISHED_FROZEN = {"freeze_cnn": 2, "freeze_trans": 6}
# What stage 1 and its targets must keep, beside what all phases must.
TEXT_SETTINGS = ("prompt_template", "epochs_num_stage1", "held_out_images", "prompts", "backbone_weights")

# What is said of a backbone that was not trained for places, and no longer holds.
ONLY_UNTRAINED = ("untrained", "also_known_as")


def is_backbone(name: str) -> bool:
    """Tell whether ``name`` is that of a backbone, and not of a trained model."""
    try:
        find_backbone(name)
    except ProgeoError:
        return False
    return True


def resolve(
    settings: TrainSettings,
    network: PlaceNetwork | None = None,
    *,
    resumed: bool = False,
    spec: ModelSpec | None = None,
) -> TrainSettings:
    """Return the settings with everything filled in that the model or other settings decide.

    Args:
        settings: as given.
        network: a model to start from, where there is one.
        resumed: whether a run goes on.
        spec: what the model of such a run is, where ``network`` is not given.

    Raises:
        ProgeoError: settings that do not go together.
    """
    settings = _describe_model(settings, network)
    if settings.resize_test_imgs is False and takes_squares(settings, network):
        raise ProgeoError(
            f"`resize_test_imgs` False keeps photos at their size, but {settings.backbone} takes squares of "
            f"{settings.image_size} px only. Leave that out."
        )
    entry = find_backbone(settings.backbone or "") if is_backbone(settings.backbone or "") else None
    has_text = entry is not None and entry.create_image_text is not None
    wants_text = settings.text_targets != "none" and (has_text or settings.text_targets is not None)
    method = settings.method or ("progeo" if wants_text else "cosplace")
    uses_text = find_method(method).uses_text
    targets = settings.text_targets or ("prompts" if uses_text else "none")
    if uses_text != (targets != "none"):
        raise ProgeoError(f"`method` {method} does not go with `text_targets` {targets}. Leave out one of the two.")
    learns = targets in ("prompts", "shuffled")
    if settings.stage == 1 and not learns:
        raise ProgeoError(f"`stage` 1 learns prompts, but `text_targets` {targets} uses none.")
    if settings.stage == 1 and settings.prompts:
        raise ProgeoError("`stage` 1 learns prompts, so that it takes no `prompts`. Leave out one of the two.")
    if settings.prompts and not learns:
        raise ProgeoError(f"`prompts` is given, but `text_targets` {targets} uses no prompts.")
    saying = {name: getattr(settings, name) for name in ("train_all_layers", *PUBLISHED_FROZEN)}
    freezing = [name for name, value in saying.items() if value is not None and value is not False]
    if settings.unfreeze is not None and freezing:
        raise ProgeoError(f"`unfreeze` says what is trained, and so does `{freezing[0]}`. Leave out one of the two.")
    defaults: dict[str, Any] = PUBLISHED_CELLS | (PUBLISHED_FROZEN if settings.unfreeze is None else {})
    settings = dataclasses.replace(
        settings,
        method=method,
        text_targets=targets,
        **{name: value for name, value in defaults.items() if getattr(settings, name) is None},
    )
    if entry and not resumed:  # a run that goes on may be done with the file
        check_weights_option(entry, settings.backbone_weights)
    settings = make_method(settings).resolve(settings)
    if entry:
        # A network without memory, to have its sizes checked; where a constructor computes, it cannot be made so.
        with torch.device("meta"), suppress(NotImplementedError, RuntimeError):
            spec = network.spec if network is not None else spec
            create_run_network(dataclasses.replace(settings, backbone_weights="none"), None, spec=spec)
    return settings


def _describe_model(settings: TrainSettings, network: PlaceNetwork | None) -> TrainSettings:
    """Fill in backbone, head, dimension and image size: those of a network, or else the usual ones.

    Raises:
        ProgeoError: they are given, and the network has others.
    """
    if network is None:
        entry = find_backbone(settings.backbone or "ResNet18")
        dimension = settings.fc_output_dim or find_usual_dimension(
            entry.name,
            settings.head,
            backbone_arguments=settings.backbone_arguments,
            head_arguments=settings.head_arguments,
        )
        size = settings.image_size or (entry.preprocessing.image_size if entry.preprocessing.square else 512)
        return dataclasses.replace(settings, backbone=entry.name, fc_output_dim=dimension, image_size=size)
    spec = network.spec
    own_size = spec.preprocessing.image_size if spec.preprocessing.square else 512
    found: dict[str, Any] = {"backbone": spec.backbone, "head": spec.head, "fc_output_dim": spec.descriptor_dim}
    if spec.preprocessing.square:
        found["image_size"] = own_size
    arguments = {"backbone_arguments": spec.backbone_arguments, "head_arguments": spec.head_arguments}
    different = [name for name, value in (found | arguments).items() if getattr(settings, name) not in (None, value)]
    if different:
        given = ", ".join(f"`{name}` {getattr(settings, name)}" for name in different)
        raise ProgeoError(f"The model to start from is {spec.describe()}, but {given} was asked for. Leave that out.")
    return dataclasses.replace(settings, **{"image_size": settings.image_size or own_size, **found})


def takes_squares(settings: TrainSettings, network: PlaceNetwork | None) -> bool:
    """Tell whether the model takes squares of one size only; ``settings`` name its backbone."""
    if network is not None:
        return network.preprocessing.square
    entry = find_backbone(settings.backbone or "")
    return entry.preprocessing.square or find_head(settings.head or entry.head).needs_grid


def make_method(settings: TrainSettings) -> Method:
    """Return the method that the settings name, with its arguments.

    Raises:
        ProgeoError: there is no such method, or it does not take these arguments.
    """
    arguments = settings.method_arguments or {}
    try:
        return find_method(settings.method or "")(settings, **arguments)
    except TypeError as error:
        raise ProgeoError(
            f"`method` {settings.method} does not take `method_arguments` {arguments}: {error}"
        ) from error


def check_kept_settings(settings: TrainSettings, folder: Path) -> None:
    """Raise ProgeoError, saying what differs, unless what the run in ``folder`` has done so far fits the settings.

    The settings of its last start are compared, so that those which it refuses never take their place.
    """
    path = folder / CONFIG
    if not path.is_file():
        return
    try:
        before = dict(yaml.safe_load(read_text(path)))
    except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ProgeoError(f"Cannot read the settings in {path}: {error}") from error
    kept = dict.fromkeys((*KEPT_SETTINGS, *(TEXT_SETTINGS if settings.text_targets != "none" else ())))
    different = list_differences(before, {name: getattr(settings, name) for name in kept})
    if different:
        raise ProgeoError(
            f"The run {folder} was started with {', '.join(different)}. Resume with the same options, or start a new "
            "run."
        )


def create_run_network(
    settings: TrainSettings,
    given: PlaceNetwork | None,
    *,
    resumed: bool = False,
    keep_frozen: bool = False,
    spec: ModelSpec | None = None,
) -> PlaceNetwork:
    """Return the network to train: new on its pretrained backbone, or a trained one to start from.

    Args:
        settings: with nothing left open.
        given: the network to start from, which stays as it is.
        resumed: whether a checkpoint replaces all weights at once.
        keep_frozen: of ``given``, train what it has unfrozen, unless the settings say what.
        spec: what the network is, where it is not given: of a run that goes on.
    """
    says_what = settings.unfreeze is not None or settings.train_all_layers
    start = copy.deepcopy(given)
    if start is not None:
        kept = {name: value for name, value in start.spec.provenance.items() if name not in ONLY_UNTRAINED}
        start.spec = dataclasses.replace(start.spec, provenance=kept)
        start.set_image_size(settings.image_size or 0)
        if not is_backbone(start.backbone_name) or (keep_frozen and not says_what):
            if settings.unfreeze is not None:
                raise ProgeoError(f"`unfreeze` needs a backbone with known stages, which {start.backbone_name} is not.")
            if settings.train_all_layers or not any(parameter.requires_grad for parameter in start.parameters()):
                start.requires_grad_(True)
            return start.train()
        spec = start.spec
    if spec is not None and (spec.backbone, spec.head) != (settings.backbone, settings.head or spec.head):
        spec = None  # the comparison of settings says more than the parts could
    option = find_backbone(settings.backbone or "").freeze_option
    network = create_model(
        settings.backbone or "",
        head=settings.head,
        descriptor_dim=settings.fc_output_dim,
        weights="none" if start is not None or resumed else settings.backbone_weights,
        # The new layers are the same in every run of this seed, resumed ones too.
        seed=derive_seed(settings.seed),
        unfreeze=settings.unfreeze,
        train_all_layers=settings.train_all_layers,
        frozen_stages=getattr(settings, option) if option else None,
        image_size=settings.image_size,
        backbone_arguments=spec.backbone_arguments if spec else settings.backbone_arguments,
        head_arguments=spec.head_arguments if spec else settings.head_arguments,
    )
    if settings.stage != 1 and not any(parameter.requires_grad for parameter in network.parameters()):
        given_frozen = f"`unfreeze` {settings.unfreeze}" if settings.unfreeze is not None else f"`{option}`"
        raise ProgeoError(
            f"{given_frozen} leaves nothing to train: the head {network.spec.head} has no weights. Let some of the "
            "backbone be trained with `unfreeze`."
        )
    if resumed and spec is not None:
        network.spec = spec
    network.set_image_size(settings.image_size or 0)
    if start is not None:
        network.spec = start.spec
        network.load_state_dict(start.state_dict())
    return network.train()


def warn_of_random_weights(settings: TrainSettings) -> str | None:
    """Return what to say where a training starts from random weights, else None."""
    if settings.backbone_weights != "none":
        return None
    alternatives = "'default' or a file"
    if settings.text_targets != "none":  # the towers of stage 1 are random, whatever model stage 2 starts from
        return (
            "`backbone_weights` none: both towers are random, so that prompts and results mean nothing; only the "
            f"program itself can be tried like this. Otherwise use {alternatives}."
        )
    if settings.resume_model:
        return None
    return f"`backbone_weights` none: training starts from random weights; {alternatives} need far less of it."


def find_run(path: str | Path) -> tuple[Path, Path | None]:
    """Return the folder of the run that ``path`` names, and its checkpoint, if it has come to one.

    Args:
        path: a run folder, or a checkpoint in it.

    Raises:
        ProgeoError: there is no run.
    """
    path = Path(path)
    folder, checkpoint = (path, path / LAST_CHECKPOINT) if path.is_dir() else (path.parent, path)
    if checkpoint.is_file():
        return folder, checkpoint
    if path.is_dir() and (path / CONFIG).is_file():
        return folder, None
    raise ProgeoError(
        f"There is no checkpoint {checkpoint}. `resume_train` takes a run folder or its {LAST_CHECKPOINT}."
    )
