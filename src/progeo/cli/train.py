"""``progeo train``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, NonNegativeInt, PositiveInt

from progeo.cli.options import REQUIRED, HalfTurn, HeadingOptions, InferenceOptions, MachineOptions, option


@dataclass(kw_only=True)
class GroupOptions:
    """CosPlace classes and groups"""

    M: PositiveInt = option(10, "side of a class's cell in metres")
    alpha: PositiveInt = option(
        30, "angle of a class in degrees; 360 makes classes by position alone, without headings"
    )
    N: PositiveInt = option(5, "cells between neighbouring classes of one group")
    L: PositiveInt = option(2, "steps of alpha between neighbouring classes of one group")
    groups_num: PositiveInt = option(8, "groups to train on; epoch e uses group e modulo this")
    min_images_per_class: PositiveInt = option(10, "classes with fewer images are left out")


@dataclass(kw_only=True)
class ModelOptions:
    """Model"""

    backbone: str = option(
        "ResNet18",
        "ResNet18, ResNet50, ResNet101, ResNet152, VGG16, EfficientNet_B0 to EfficientNet_B7, EfficientNet-Lite0, "
        "timm:NAME for any feature extractor of timm; with a text tower, and so with ProGEO: CLIP-RN50, CLIP-RN101, "
        "CLIP-ViT-B-16, CLIP-ViT-B-32, LiteCLIP (offline), open_clip:NAME:PRETRAINED",
    )
    fc_output_dim: PositiveInt | None = option(
        None, "dimension of the descriptors; without it 512, or that of the backbone's text tower"
    )
    backbone_weights: str = option(
        "default",
        "where the backbone starts: 'default' or 'openai' (the backbone's own weights, from the network where they are "
        "not cached), 'none' (random), or the path of its weights (.pt, .pth or .safetensors)",
    )


@dataclass(kw_only=True)
class PromptOptions:
    """ProGEO: prompts (stage 1), then the image encoder (stage 2); for backbones with a text tower"""

    stage: Literal[1, 2] | None = option(
        None, "do only this stage; without it both, one after the other. --stage 2 needs --prompts"
    )
    prompts: str | None = option(
        None, "learned prompts (a run's prompts.safetensors), so that stage 1 is left out", names=("--prompt_learners",)
    )
    text_targets: str | None = option(
        None,
        "what descriptors are drawn to in stage 2: the texts of the learned 'prompts'; these 'shuffled' among the "
        "classes, or the mean image feature of the class ('class_mean'), as controls; or nothing ('none'), which is "
        "CosPlace. Without it prompts, where the backbone has a text tower",
        choices=("prompts", "shuffled", "class_mean", "none"),
    )
    prompt_template: str = option("A photo of a X X X X street.", "the prompt; each X is a learned token")
    batch_size_stage1: PositiveInt = option(512, "image features per step of stage 1")
    epochs_num_stage1: PositiveInt = option(480, "epochs of stage 1, going round the groups")
    lr_stage1: NonNegativeFloat = option(0.01, "learning rate of the prompts (Adam), annealed to 0 as a cosine")
    held_out_images: NonNegativeInt = option(
        1000,
        "images that stage 1 leaves out and measures the prompts with, at most one of a class that has four or more",
    )
    cache_feature_folder: str | None = option(
        None, "where the image features of stage 1 are kept; without it the run folder"
    )
    text_loss_weight: NonNegativeFloat = option(1.0, "weight of the text loss beside the classification loss")
    soft_triplet: bool = option(
        False, "add the soft-margin triplet loss; batches then hold --images_per_class 4 images of a class"
    )
    freeze_cnn: NonNegativeInt = option(2, "layers of a CLIP ResNet that stay frozen, beside the first convolutions")
    freeze_trans: NonNegativeInt = option(6, "blocks of a CLIP transformer that stay frozen")


@dataclass(kw_only=True)
class TrainOptions(GroupOptions, ModelOptions, PromptOptions, InferenceOptions, HeadingOptions, MachineOptions):
    """Training"""

    train_set_folder: str = option(
        REQUIRED,
        "training images: a folder (positions in SF-XL file names or EXIF) or a manifest. One manifest with columns "
        "split and role, such as progeo data split writes, is enough for all three sets",
    )
    val_set_folder: str | None = option(
        None,
        "validation set: a folder with database and queries, or a manifest with a column role; without it the split "
        "val of the manifest",
    )
    test_set_folder: str | None = option(
        None,
        "test set: a folder with database and queries (or queries_v1, queries_v2), or a manifest as above; without it "
        "the split test of the manifest",
    )
    train_all_layers: bool = option(False, "train the whole backbone instead of its last layers")
    use_amp16: bool = option(False, "mixed precision: float16 on GPUs, bfloat16 on the CPU")
    compile: bool = option(
        False,
        "compile the image encoder with torch.compile: the first step takes a minute or more, the others less time",
    )
    batch_size: PositiveInt = option(32, "training images per step")
    images_per_class: PositiveInt | None = option(
        None,
        "images of each class in a batch; batch_size must be a multiple. Without it 1, and 4 with --soft_triplet, "
        "which needs others of the same class (the published code draws 1 there too: --images_per_class 1)",
    )
    epochs_num: PositiveInt | None = option(None, "epochs; without it 50, and 64 for backbones with a text tower")
    iterations_per_epoch: PositiveInt = option(10000, "steps per epoch")
    lr: NonNegativeFloat = option(0.00001, "learning rate of the model (Adam)")
    classifiers_lr: NonNegativeFloat = option(0.01, "learning rate of the classifiers (Adam)")
    patience: PositiveInt | None = option(
        None, "stop after this many epochs without a better R@1 on the validation set; without it train all epochs"
    )
    image_size: PositiveInt = option(512, "width and height of the training crops in pixels")
    brightness: NonNegativeFloat = option(0.7, "colour jitter: factors from 1 - value to 1 + value")
    contrast: NonNegativeFloat = option(0.7, "colour jitter, as brightness")
    saturation: NonNegativeFloat = option(0.7, "colour jitter, as brightness")
    hue: HalfTurn = option(0.5, "colour jitter: shift of up to this many turns of the colour wheel, at most 0.5")
    random_resized_crop: ClosedUnitInterval = option(0.5, "crops cover at least 1 - value of the photo's area")
    augmentation_device: str | None = option(
        None, "where to augment; without it the device of the model", choices=("cpu", "cuda")
    )
    max_unreadable_images: NonNegativeInt = option(
        100, "training images that cannot be read are skipped and named; more than this many stop the training"
    )
    seeds: list[NonNegativeInt] | None = option(
        None, "train once per seed, for example --seeds 0 1 2, and report mean and standard deviation"
    )
    resume_train: str | None = option(
        None,
        "continue a run: its folder or its last_checkpoint.pth. Its options are taken over; the result is the same as "
        "without the interruption",
    )
    resume_model: str | None = option(None, "start from this trained model (a file, or cosplace:ResNet18:512)")


def run(options: TrainOptions, folder: Path | None = None, *, published: bool = False) -> dict[str, Any]:
    """Run ``progeo train``; with ``published``, test photos keep their size where nothing else is asked for."""
    if published and options.resize_test_imgs is None:
        options.resize_test_imgs = False
    from progeo.training.run import run_training

    return run_training(options, folder)
