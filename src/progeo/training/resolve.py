"""Options that depend on others: filled in, and checked against each other, before anything is read or written."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from progeo.cli.train import TrainOptions
from progeo.data.table import find_manifest
from progeo.errors import ProgeoError
from progeo.models.backbones.create import BackboneEntry, find_backbone
from progeo.models.network import DEFAULT_DIMENSION, create_network
from progeo.models.weights import check_weights_option
from progeo.training.checkpoint import find_run
from progeo.training.methods.prompt_file import PROMPTS
from progeo.training.methods.prompts import PromptTemplate
from progeo.training.sampling import check_batch_size

EPOCHS = 50
EPOCHS_WITH_TEXT = 64
IMAGES_PER_CLASS_WITH_TRIPLET = 4


def resolve_options(options: TrainOptions) -> TrainOptions:
    """Return the options with everything filled in that the backbone or other options decide.

    Raises:
        ProgeoError: options that do not go together.
    """
    entry = find_backbone(options.backbone)
    has_text = entry.create_image_text is not None
    resolved = dataclasses.replace(
        _find_sets(options),
        text_targets=options.text_targets or ("prompts" if has_text else "none"),
        fc_output_dim=options.fc_output_dim or entry.text_dimension or DEFAULT_DIMENSION,
        epochs_num=options.epochs_num or (EPOCHS_WITH_TEXT if has_text else EPOCHS),
        images_per_class=options.images_per_class or (IMAGES_PER_CLASS_WITH_TRIPLET if options.soft_triplet else 1),
    )
    if not options.resume_train:  # a run that goes on may be done with the file
        check_weights_option(entry, options.backbone_weights)
    _check_stages(resolved, entry)
    assert resolved.images_per_class is not None
    check_batch_size(resolved.batch_size, resolved.images_per_class)
    with torch.device("meta"):  # a network without memory, to have its sizes checked
        network = create_network(options.backbone, resolved.fc_output_dim, weights="none")
        network.set_image_size(options.image_size)
    return resolved


def _find_sets(options: TrainOptions) -> TrainOptions:
    """Return the options with the manifest of all three sets where those of validation and test are not given."""
    missing = [name for name in ("val_set_folder", "test_set_folder") if getattr(options, name) is None]
    if missing and find_manifest(Path(options.train_set_folder)) is None:
        raise ProgeoError(
            f"please give: {', '.join(f'`{name}`' for name in missing)}. Neither is needed where `train_set_folder` is "
            "a manifest of all three sets, as progeo data split makes one."
        )
    found: dict[str, Any] = dict.fromkeys(missing, options.train_set_folder)
    return dataclasses.replace(options, **found)


def uses_text(options: TrainOptions) -> bool:
    """Tell whether resolved options ask for text targets, and so for stage 1 or its prompts."""
    return options.text_targets != "none"


def _uses_prompts(options: TrainOptions) -> bool:
    """Tell whether the text targets are those of prompts, learned or given."""
    return options.text_targets in ("prompts", "shuffled")


def _check_stages(options: TrainOptions, entry: BackboneEntry) -> None:
    learns = _uses_prompts(options)
    if uses_text(options):
        if entry.create_image_text is None:
            raise ProgeoError(
                f"`text_targets` {options.text_targets} needs a backbone with a text tower, which {entry.name} has "
                "not: use CLIP-RN50, CLIP-RN101, CLIP-ViT-B-16, CLIP-ViT-B-32 or LiteCLIP, or `text_targets` none."
            )
        if options.fc_output_dim != entry.text_dimension:
            raise ProgeoError(
                f"`fc_output_dim` {options.fc_output_dim} does not fit the texts of {entry.name}, which have "
                f"{entry.text_dimension} dimensions: use `fc_output_dim` {entry.text_dimension}. (1024 fits "
                "CLIP-RN50; 512 fits CLIP-RN101, CLIP-ViT-B-16, CLIP-ViT-B-32 and LiteCLIP; with `text_targets` none "
                "any fits a ResNet and LiteCLIP.)"
            )
        PromptTemplate.parse(options.prompt_template)
    if options.stage == 1 and not learns:
        raise ProgeoError(f"`stage` 1 learns prompts, but `text_targets` {options.text_targets} uses none.")
    if options.stage == 1 and options.prompts:
        raise ProgeoError("`stage` 1 learns prompts, so that it takes no `prompts`. Leave out one of the two.")
    if options.stage == 2 and learns and not options.prompts and not _has_prompts(options):
        raise ProgeoError(f"`stage` 2 needs the prompts of stage 1: `prompts` {PROMPTS}, from its run folder.")
    if options.prompts and not learns:
        raise ProgeoError(f"`prompts` is given, but `text_targets` {options.text_targets} uses no prompts.")


def _has_prompts(options: TrainOptions) -> bool:
    """Tell whether the run that is resumed, if any, has learned its prompts, itself or in the folders of its seeds."""
    return options.resume_train is not None and any(find_run(options.resume_train)[0].rglob(PROMPTS))


def check_epochs(options: TrainOptions, groups: int) -> None:
    """Raise ProgeoError if stage 1 has too few epochs for all ``groups``."""
    learns = _uses_prompts(options) and not options.prompts
    if learns and options.epochs_num_stage1 < groups:
        raise ProgeoError(
            f"`epochs_num_stage1` {options.epochs_num_stage1}: each of the {groups} groups needs an epoch of its own, "
            f"so give at least {groups}, and many times that to learn something."
        )


def warn_of_random_weights(options: TrainOptions) -> str | None:
    """Return what to say where a training starts from random weights, else None."""
    if options.backbone_weights != "none":
        return None
    alternatives = "'default' or a file"
    if uses_text(options):  # the towers of stage 1 are random, whatever model stage 2 starts from
        return (
            "`backbone_weights` none: both towers are random, so that prompts and results mean nothing; only the "
            f"program itself can be tried like this. Otherwise use {alternatives}."
        )
    if options.resume_model:
        return None
    return f"`backbone_weights` none: training starts from random weights; {alternatives} need far less of it."
