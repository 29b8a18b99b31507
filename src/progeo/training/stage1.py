"""Stage 1 as a step of a run: learning prompts, and making of them what stage 2 draws the descriptors to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from progeo.cli.train import TrainOptions
from progeo.console import format_count, logger
from progeo.errors import ProgeoError, explain_lack_of_memory
from progeo.files import atomic_write
from progeo.models.backbones.create import create_image_text_model, find_backbone
from progeo.models.fingerprint import fingerprint_model
from progeo.models.text import ImageTextModel
from progeo.training.checkpoint import describe_groups
from progeo.training.fabric import create_fabric
from progeo.training.groups import Group
from progeo.training.interrupt import delay_interruption
from progeo.training.methods.image_features import Features, extract_image_features
from progeo.training.methods.prompt_file import (
    KEPT_OPTIONS,
    PROMPTS,
    PromptFile,
    check_prompts,
    check_weights,
    load_prompts,
    save_prompts,
)
from progeo.training.methods.prompt_learning import (
    STAGE1_CHECKPOINT,
    PromptTraining,
    create_prompt_state,
    describe_measure,
    load_prompt_state,
    split_features,
)
from progeo.training.methods.prompts import Prompts, PromptTemplate, compute_text_features
from progeo.training.overview import count_parameters, estimate_memory, estimate_time, format_overview, measure_step

TEXT_TARGETS = "text_targets.safetensors"


def create_model(
    options: TrainOptions, prompts: PromptFile | None, folder: Path | None, device: torch.device
) -> ImageTextModel | None:
    """Return the model of stage 1, on the device, or None where the run in ``folder`` is done with it.

    Nothing is written, so that a run that cannot start leaves nothing behind.

    Raises:
        ProgeoError: its weights cannot be had, or it does not fit the template or the ``prompts`` that were given.
    """
    if folder and (folder / TEXT_TARGETS).is_file() and options.stage != 1:
        return None
    model = create_image_text_model(find_backbone(options.backbone), options.backbone_weights)
    PromptTemplate.parse(options.prompt_template).check_length(model.text)
    if prompts:
        check_weights(prompts, str(options.prompts), model)
    return model.to(device)


def prepare_text_targets(
    options: TrainOptions,
    table: pl.DataFrame,
    groups: list[Group],
    folder: Path,
    device: torch.device,
    model: ImageTextModel | None,
    prompts: PromptFile | None = None,
) -> list[torch.Tensor]:
    """Return what descriptors are drawn to: for each group (classes, dimension), float16, on the CPU.

    What an earlier start of the run has done, in its ``folder``, is taken over: the finished targets, the prompts, and
    stage 1 half-way. ``model`` is that of ``create_model``; ``prompts`` are those that were given, if any.

    Raises:
        KeyboardInterrupt: a stop was asked for; what is done is kept.
        ProgeoError: prompts or features belong to other classes, images or models.
    """
    path = folder / TEXT_TARGETS
    belongs_to = {"kind": str(options.text_targets), "groups": describe_groups(groups)}
    if model is None:
        return _load_targets(path, belongs_to)
    if options.text_targets == "class_mean":
        features = _extract_features(options, table, groups, folder, device, model, fingerprint_model(model))
        targets = _average_classes(features, groups)
    else:
        prompts = prompts or _load_own_prompts(options, groups, folder, model)
        prompts = prompts or learn_prompts(options, table, groups, folder, device, model)
        targets = _describe_prompts(prompts, model)
        if options.text_targets == "shuffled":
            targets = [_shuffle(target, options.seed, number) for number, target in enumerate(targets)]
    targets = [target.half().cpu() for target in targets]
    tensors = {str(number): target.contiguous() for number, target in enumerate(targets)}
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(tensors, belongs_to))
    return targets


def learn_prompts(
    options: TrainOptions,
    table: pl.DataFrame,
    groups: list[Group],
    folder: Path,
    device: torch.device,
    model: ImageTextModel,
) -> PromptFile:
    """Do stage 1, from where an earlier start in ``folder`` left it, and write and return the prompts."""
    fingerprint = fingerprint_model(model)
    features = _extract_features(options, table, groups, folder, device, model, fingerprint)
    # Half precision on GPUs always, as published; on the CPU it is slower for prompts of a dozen tokens.
    fabric = create_fabric(device, options.use_amp16 or device.type == "cuda")
    template = PromptTemplate.parse(options.prompt_template)
    shares = split_features(features, groups, options.held_out_images, options.seed)
    state = create_prompt_state(model.text, groups, template, options, fabric)
    checkpoint = folder / STAGE1_CHECKPOINT
    if checkpoint.is_file():
        load_prompt_state(state, checkpoint, options, groups)
        logger.info(f"Resuming stage 1 after {state.epoch} of {options.epochs_num_stage1} epochs")
    training = PromptTraining(state, model.text, groups, shares, options, fabric)
    with explain_lack_of_memory("lower `batch_size_stage1`, or use `use_amp16`"):
        logger.info(_describe_stage(training, model, features))
        with delay_interruption("epoch") as interruption:
            training.train(folder, interruption)
    measured = training.measure()
    logger.info(describe_measure(measured))
    card = {
        "options": {name: getattr(options, name) for name in KEPT_OPTIONS},
        "template": str(template),
        "model": fingerprint,
        "training": {"epochs": state.epoch, "lr": options.lr_stage1, "seed": options.seed},
        "loss": state.history[-1]["loss"],
        "measured": measured,
    }
    tokens = [prompts.tokens.detach() for prompts in state.prompts]
    save_prompts(folder / PROMPTS, tokens, groups, card)
    logger.info(f"The prompts are {folder / PROMPTS}")
    return PromptFile(tokens, [group.classes for group in groups], card)


def _load_own_prompts(
    options: TrainOptions, groups: list[Group], folder: Path, model: ImageTextModel
) -> PromptFile | None:
    """Return the prompts that this run has learned, if it has."""
    path = folder / PROMPTS
    if not path.is_file():
        return None
    prompts = load_prompts(path)
    check_prompts(prompts, path, options, groups)
    check_weights(prompts, path, model)
    return prompts


def _extract_features(
    options: TrainOptions,
    table: pl.DataFrame,
    groups: list[Group],
    folder: Path,
    device: torch.device,
    model: ImageTextModel,
    fingerprint: str,
) -> Features:
    """Return the image features of all groups' images, group after group."""
    images = np.concatenate([group.images for group in groups])
    return extract_image_features(
        Path(options.cache_feature_folder) if options.cache_feature_folder else folder,
        table["path"].gather(images).to_list(),
        model,
        fingerprint,
        device=device,
        num_workers=options.num_workers,
        max_unreadable_images=options.max_unreadable_images,
    )


def _describe_prompts(file: PromptFile, model: ImageTextModel) -> list[torch.Tensor]:
    """Return the text features of the prompts of each group."""
    template = PromptTemplate.parse(file.card["template"])
    targets = []
    for tokens in file.tokens:
        prompts = Prompts(template, model.text, len(tokens))
        prompts.tokens.data.copy_(tokens)
        targets.append(compute_text_features(prompts, model.text))
    return targets


def _average_classes(features: Features, groups: list[Group]) -> list[torch.Tensor]:
    """Return the mean image feature of each class, over the images that could be read."""
    means = []
    start = 0
    for group in groups:
        share = np.asarray(features[start : start + len(group.images)], dtype=np.float32)
        start += len(group.images)
        readable = ~np.isnan(share[:, :1])
        sums = np.add.reduceat(np.where(readable, share, 0), group.offsets[:-1], axis=0)
        counts = np.add.reduceat(readable, group.offsets[:-1], axis=0, dtype=np.int64)
        means.append(torch.from_numpy(sums / np.maximum(counts, 1)))
    return means


def _shuffle(target: torch.Tensor, seed: int, group: int) -> torch.Tensor:
    """Give each class the text of another one: every class the next one's along a random round."""
    order = np.random.default_rng((seed, 2, group)).permutation(len(target))
    shuffled = torch.empty_like(target)
    shuffled[torch.from_numpy(order)] = target[torch.from_numpy(np.roll(order, 1))]
    return shuffled


def _load_targets(path: Path, belongs_to: dict[str, str]) -> list[torch.Tensor]:
    remedy = f"Remove {path}, and it is made anew."
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            if file.metadata() != belongs_to:
                raise ProgeoError(f"{path} was made for other `text_targets` or other classes. {remedy}")
            return [file.get_tensor(str(number)) for number in range(len(file.keys()))]
    except (SafetensorError, OSError) as error:
        raise ProgeoError(f"{path} is damaged ({error}). {remedy}") from error


def _describe_stage(training: PromptTraining, model: ImageTextModel, features: Features) -> str:
    """Return the table of stage 1."""
    options, shares = training.options, training.shares
    images = [len(share.training) for share in shares]
    steps_per_round = sum(-(-count // options.batch_size_stage1) for count in images)
    steps = round(options.epochs_num_stage1 / len(shares) * steps_per_round)
    largest = int(np.argmax(images))
    prompts = training.state.prompts[largest].to(training.fabric.device)
    share = shares[largest]
    # At random, as in training: side by side photos are of few classes, and so of few texts.
    rows = np.random.default_rng(options.seed).permutation(share.training)[: options.batch_size_stage1]
    cost = measure_step(lambda: training.compute_loss(prompts, share.features[rows], share.labels[rows]))
    prompts.zero_grad()
    prompts.to("cpu")
    text_tower, (_, learned) = count_parameters(model.text), count_parameters(prompts)
    whole = count_parameters(model)
    parts = {
        "image tower": (whole[0] - text_tower[0], 0),
        "text tower": text_tower,
        "prompts of one group": (0, learned),
    }
    left = 1 - training.state.epoch / options.epochs_num_stage1
    return format_overview(
        f"Stage 1, prompts: {options.backbone}, {options.prompt_template!r}",
        parts,
        {
            "classes": f"{sum(len(group) for group in training.groups):,} in {format_count(len(shares), 'group')}",
            "images": f"{sum(images):,}, and {sum(len(share.held_out) for share in shares):,} held out to measure with",
            "steps": f"{steps:,} of {options.batch_size_stage1} images, "
            f"{format_count(options.epochs_num_stage1, 'epoch')}",
            "memory": f"{estimate_memory(parts, cost)}; {features.nbytes / 1e9:.2f} GB of image features on the disk",
            "time": estimate_time(cost.seconds * steps * left),
        },
    )
