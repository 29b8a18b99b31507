"""The settings of a training: published names and defaults, and what each value may be.

The command line makes its options of these dataclasses. The library takes the same names as keyword arguments, and
checks the same ranges.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from progeo.errors import ProgeoError
from progeo.training.recipes import find_recipe

PUBLISHED_TEMPLATE = "A photo of a X X X X street."


def setting(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[Any, ...] = (),
    names: tuple[str, ...] = (),
) -> Any:
    """Return a dataclass field with what it does, the values it may have, and further spellings of its name."""
    values = {"minimum": minimum, "maximum": maximum, "choices": choices}
    return field(default=default, metadata={"help": help, "names": names, "positional": False, **values})


@dataclass(kw_only=True)
class GroupSettings:
    """CosPlace classes and groups"""

    M: int | None = setting(None, "side of a class's cell in metres; without it 10", minimum=1)
    alpha: int | None = setting(
        None,
        "angle of a class in degrees; without it 30. 360 makes classes by position alone, without headings",
        minimum=1,
    )
    N: int | None = setting(None, "cells between neighbouring classes of one group; without it 5", minimum=1)
    L: int | None = setting(None, "steps of alpha between neighbouring classes of one group; without it 2", minimum=1)
    groups_num: int = setting(8, "groups to train on; epoch e uses group e modulo this", minimum=1)
    min_images_per_class: int | None = setting(
        None, "classes with fewer images are left out; without it 10, and with metric `images_per_class`", minimum=1
    )
    parallel_groups: int = setting(
        1,
        "groups that each step trains on, one batch of each; epoch e starts with the group after those of the last",
        minimum=1,
    )


@dataclass(kw_only=True)
class ModelSettings:
    """Model"""

    backbone: str | None = setting(
        None,
        "ResNet18 (without it), ResNet50, ResNet101, ResNet152, VGG16, EfficientNet_B0 to EfficientNet_B7, "
        "EfficientNet-Lite0, DINOv2-S, DINOv2-B, DINOv2-L, timm:NAME for any feature extractor of timm; with a text "
        "tower, and so with ProGEO: "
        "CLIP-RN50, CLIP-RN101, CLIP-ViT-B-16, CLIP-ViT-B-32, LiteCLIP (offline), open_clip:NAME:PRETRAINED",
    )
    head: str | None = setting(
        None,
        "how features become a descriptor: gem (CosPlace), salad, boq, mixvpr, netvlad, cls, identity, or one of your "
        "own; without it the backbone's usual one",
    )
    head_arguments: dict[str, Any] | None = setting(None, "further arguments of the head, for example '{p: 4}'")
    backbone_arguments: dict[str, Any] | None = setting(
        None, "further arguments of the backbone, for example '{layers: 3}' for a ResNet without its last layer"
    )
    fc_output_dim: int | None = setting(
        None,
        "dimension of the descriptors; without it 512, that of the backbone's text tower, or the head's usual one",
        minimum=1,
    )
    backbone_weights: str = setting(
        "default",
        "where the backbone starts: 'default' or 'openai' (the backbone's own weights, from the network where they are "
        "not cached), 'none' (random), or the path of its weights (.pt, .pth or .safetensors)",
    )
    unfreeze: int | None = setting(
        None, "train only the last N blocks or stages of the backbone; without it as published", minimum=0
    )
    train_all_layers: bool = setting(False, "train the whole backbone instead of its last layers")
    freeze_cnn: int | None = setting(
        None, "layers of a CLIP ResNet that stay frozen, beside the first convolutions; without it 2", minimum=0
    )
    freeze_trans: int | None = setting(None, "blocks of a CLIP transformer that stay frozen; without it 6", minimum=0)
    resume_model: str | None = setting(
        None, "start from this trained model: a file, cosplace:ResNet18:512, or an address of torch.hub"
    )
    trust_remote_code: bool = setting(False, "let a model of torch.hub run its own code")


@dataclass(kw_only=True)
class PromptSettings:
    """ProGEO: prompts (stage 1), then the image encoder (stage 2); for backbones with a text tower"""

    stage: int | None = setting(
        None, "do only this stage; without it both, one after the other. `stage` 2 needs `prompts`", choices=(1, 2)
    )
    prompts: str | None = setting(
        None,
        "learned prompts, so that stage 1 is left out: a run's prompts.safetensors, or the .pth of ProGEO's own code",
        names=("prompt_learners",),
    )
    text_targets: str | None = setting(
        None,
        "what the text loss of stage 2 pulls descriptors towards: the texts of the learned 'prompts'; these 'shuffled' "
        "among the classes, or the mean image feature of the class ('class_mean'), as controls; or nothing ('none'), "
        "which is CosPlace. Without it prompts, where the backbone has a text tower",
        choices=("prompts", "shuffled", "class_mean", "none"),
    )
    prompt_template: str = setting(PUBLISHED_TEMPLATE, "the prompt; each X is a learned token")
    batch_size_stage1: int = setting(512, "image features per step of stage 1", minimum=1)
    epochs_num_stage1: int = setting(480, "epochs of stage 1, going round the groups", minimum=1)
    lr_stage1: float = setting(0.01, "learning rate of the prompts (Adam), annealed to 0 as a cosine", minimum=0)
    held_out_images: int = setting(
        1000,
        "images that stage 1 leaves out and measures the prompts with, at most one of a class that has four or more",
        minimum=0,
    )
    cache_feature_folder: str | None = setting(
        None, "where the image features of stage 1 are kept; without it the run folder"
    )
    text_loss_weight: float = setting(1.0, "weight of the text loss beside the classification loss", minimum=0)


@dataclass(kw_only=True)
class OptimizerSettings:
    """Optimiser of the model"""

    lr: float = setting(0.00001, "learning rate of the model", minimum=0)
    classifiers_lr: float = setting(0.01, "learning rate of the classifiers (always Adam, without decay)", minimum=0)
    optimizer: str | None = setting(
        None,
        "optimiser of the model; without it adam, and adamw with metric. sgd has momentum 0.9",
        choices=("adam", "adamw", "sgd"),
    )
    weight_decay: float = setting(0.0, "weight decay of the model", minimum=0)
    schedule: str | None = setting(
        None,
        "what all learning rates do after the warm-up: stay, fall over the training, or fall in steps at `milestones`; "
        "without it constant, and linear with metric",
        choices=("constant", "cosine", "linear", "steps"),
    )
    schedule_factor: float | None = setting(
        None,
        "cosine and linear: share of the rates that is left in the end, without it 0; steps: what the rates are "
        "multiplied by at each of the `milestones`, without it 0.1",
        minimum=0,
        maximum=1,
    )
    milestones: list[int] | None = setting(None, "epochs after which `schedule` steps lowers the rates")
    warmup_steps: int = setting(0, "steps in which all learning rates rise to their full value", minimum=0)
    clip_gradients: float | None = setting(
        None, "scale the model's gradients down to this norm where it is larger; without it they stay", minimum=0
    )


@dataclass(kw_only=True)
class AugmentationSettings:
    """Augmentation"""

    augmentation: str = setting(
        "fast",
        "'fast' crops first and changes colours after; 'published' changes the colours of the whole photo first, and "
        "takes contrast's mean over it",
        choices=("fast", "published"),
    )
    image_size: int | None = setting(
        None,
        "width and height of the training crops in pixels; without it 512, or what a model takes that takes one size",
        minimum=1,
    )
    brightness: float = setting(0.7, "colour jitter: factors from 1 - value to 1 + value", minimum=0)
    contrast: float = setting(0.7, "colour jitter, as brightness", minimum=0)
    saturation: float = setting(0.7, "colour jitter, as brightness", minimum=0)
    hue: float = setting(
        0.5, "colour jitter: shift of up to this many turns of the colour wheel, at most 0.5", minimum=0, maximum=0.5
    )
    random_resized_crop: float = setting(
        0.5, "crops cover at least 1 - value of the photo's area", minimum=0, maximum=1
    )
    augmentation_device: str | None = setting(
        None, "where to augment; without it the device of the model", choices=("cpu", "cuda")
    )


@dataclass(kw_only=True)
class TrainingSettings:
    """Training"""

    method: str | None = setting(
        None,
        "cosplace, progeo, metric (places against each other, without classifiers), or one of your own; without it "
        "progeo where the backbone has a text tower, else cosplace",
    )
    method_arguments: dict[str, Any] | None = setting(
        None, "arguments of a method of your own, for example '{margin: 0.2}'"
    )
    soft_triplet: bool = setting(
        False, "add the soft-margin triplet loss; batches then hold `images_per_class` 4 images of a class"
    )
    use_amp16: bool = setting(
        False, "mixed precision: bf16 where the hardware has it, else fp16 on a GPU and float32 on a processor"
    )
    precision: str | None = setting(
        None,
        "which mixed precision: half, as `use_amp16` takes it, bf16, or fp16 with scaling of the loss, on a GPU only; "
        "float32 is none. Without it `use_amp16` decides",
        choices=("float32", "half", "bf16", "fp16"),
    )
    compile: bool = setting(
        False,
        "compile the image encoder with torch.compile: the first step takes a minute or more, the others less time",
    )
    batch_size: int = setting(32, "training images per step, of all devices together", minimum=1)
    images_per_class: int | None = setting(
        None,
        "images of each class in a batch; batch_size must be a multiple. Without it 1, and 4 with metric and with "
        "`soft_triplet`, which need others of the same class (the published code draws 1 there too: "
        "`images_per_class` 1)",
        minimum=1,
    )
    epochs_num: int | None = setting(None, "epochs; without it 50, and 64 with ProGEO", minimum=1)
    iterations_per_epoch: int = setting(10000, "steps per epoch", minimum=1)
    patience: int | None = setting(
        None,
        "stop after this many epochs without a better R@1 on the validation set; without it train all epochs",
        minimum=1,
    )
    keep_start: float = setting(
        0.0,
        "share of the weights before training in the model that is validated and kept: 0.5 is the mean of both. "
        "Training itself goes on from its own weights",
        minimum=0,
        maximum=1,
    )
    max_unreadable_images: int = setting(
        100,
        "training images that cannot be read are skipped and named; more than this many stop the training",
        minimum=0,
    )


@dataclass(kw_only=True)
class DeviceSettings:
    """Several devices"""

    devices: int = setting(
        1,
        "devices of this machine to train on, a process on each; the batches are those of one device. torchrun and "
        "SLURM say it themselves",
        minimum=1,
    )
    num_nodes: int = setting(1, "machines to train on, with `devices` devices each", minimum=1)
    local_steps: int | None = setting(
        None,
        "an experiment: each device trains a group of its own, with batches of its own, for this many steps; then the "
        "weights of all are averaged",
        minimum=1,
    )


@dataclass(kw_only=True)
class TrainSettings(
    GroupSettings,
    ModelSettings,
    PromptSettings,
    OptimizerSettings,
    AugmentationSettings,
    TrainingSettings,
    DeviceSettings,
):
    """All settings of a training: those above, and what other commands have too."""

    seed: int = setting(0, "everything random follows from it", minimum=0)
    device: str = "auto"
    num_workers: int | None = setting(None, "threads that read images", minimum=0)
    cache_folder: str | None = None
    columns: str | None = None
    heading_from: str | None = None
    infer_batch_size: int = setting(16, "images per batch of validation and test", minimum=1)
    positive_dist_threshold: float = setting(25, "metres within which a prediction counts as right", minimum=0)
    resize_test_imgs: bool | None = None
    num_preds_to_save: int = setting(0, "predictions to show per query in pictures", minimum=0)
    save_only_wrong_preds: bool = False
    queries_folder: str | None = None


def make_settings(values: Mapping[str, Any]) -> TrainSettings:
    """Return settings of these values; those of a ``recipe`` hold where nothing else is given.

    Raises:
        ProgeoError: there is no such setting, or it cannot have this value.
    """
    if values.get("recipe"):
        own = {name: value for name, value in values.items() if name != "recipe" and value is not None}
        values = {**find_recipe(values["recipe"]).settings, **own}
    known = [one.name for one in dataclasses.fields(TrainSettings)]
    for name in values:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f" Did you mean `{near[0]}`?" if near else ""
            raise ProgeoError(f"Training has no setting `{name}`.{hint} The settings are: {', '.join(known)}.")
    plain = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in values.items()}
    settings = TrainSettings(**plain)
    check_values(settings)
    return settings


def check_values(settings: TrainSettings) -> None:
    """Raise ProgeoError where a setting has a value that it cannot have."""
    types = get_type_hints(TrainSettings)
    for one in dataclasses.fields(TrainSettings):
        problem = find_problem(getattr(settings, one.name), types[one.name], one.metadata)
        if problem:
            raise ProgeoError(f"`{one.name}` is {getattr(settings, one.name)!r}; it must be {problem}.")


def find_problem(value: Any, kind: Any, limits: Mapping[str, Any]) -> str | None:
    """Return what a value of a setting must be, None where it is."""
    kinds = [get_origin(one) or one for one in get_args(kind) or (kind,)]
    if value is None and NoneType in kinds:
        return None
    allowed = tuple([*kinds, int] if float in kinds else kinds)
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in kinds):
        return " or ".join(_NAMES[one] for one in kinds if one is not NoneType)
    choices, minimum, maximum = (limits.get(name) for name in ("choices", "minimum", "maximum"))
    if choices and value not in choices:
        return f"one of {', '.join(map(str, choices))}"
    if minimum is not None and not value >= minimum:
        return f"at least {minimum}"
    if maximum is not None and not value <= maximum:
        return f"at most {maximum}"
    return "finite" if isinstance(value, float) and not math.isfinite(value) else None


_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "text",
    dict: "a mapping",
    list: "a list of whole numbers",
}
