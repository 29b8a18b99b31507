"""Recipes: the settings of published trainings, as data, each with its source and with what cannot be had here.

A recipe sets defaults; what the user says wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from progeo.errors import ProgeoError, suggest

DINOV2 = "timm:vit_base_patch14_dinov2.lvd142m"


@dataclass(frozen=True)
class Recipe:
    """The settings of a training.

    Attributes:
        summary: what it trains.
        settings: fields of ``TrainSettings`` by name.
        source: where the values were published.
        departures: what is otherwise there, and why.
    """

    summary: str
    settings: Mapping[str, Any]
    source: str
    departures: tuple[str, ...] = field(default=())


_GSV_CITIES: dict[str, Any] = {
    **{"method": "metric", "groups_num": 1, "images_per_class": 4, "min_images_per_class": 4},
    **{
        "use_amp16": True,
        "brightness": 0.0,
        "contrast": 0.0,
        "saturation": 0.0,
        "hue": 0.0,
        "random_resized_crop": 0.0,
    },
}
"""What trainings on GSV-Cities share: places as they are named there, four photos of each, and half precision."""

_RANDAUGMENT = (
    "The published augmentation is RandAugment on the whole photo, squeezed to a square; here photos are only cropped "
    "to one. `brightness`, `contrast`, `saturation`, `hue` and `random_resized_crop` change more of them.",
)
_EPOCHS = (
    "A published epoch shows each place of GSV-Cities once, so that its steps follow from their number (about 62,500); "
    "`iterations_per_epoch` stands for that.",
)

RECIPES: dict[str, Recipe] = {
    "cosplace": Recipe(
        "CosPlace: classification of cells of the ground; for San Francisco XL",
        {
            **{"method": "cosplace", "backbone": "ResNet18", "fc_output_dim": 512, "text_targets": "none"},
            **{"M": 10, "alpha": 30, "N": 5, "L": 2, "groups_num": 8, "min_images_per_class": 10},
            **{"lr": 1e-5, "classifiers_lr": 0.01, "optimizer": "adam", "schedule": "constant"},
            **{"batch_size": 32, "epochs_num": 50, "iterations_per_epoch": 10_000, "image_size": 512},
        },
        "Berton, Masone and Caputo, CVPR 2022, and github.com/gmberton/CosPlace",
    ),
    "progeo": Recipe(
        "ProGEO: prompts of all classes, then the image encoder; for San Francisco XL",
        {
            **{"method": "progeo", "backbone": "CLIP-RN50", "fc_output_dim": 1024, "text_targets": "prompts"},
            **{"M": 10, "alpha": 30, "N": 5, "L": 2, "groups_num": 8, "min_images_per_class": 10},
            **{"batch_size_stage1": 512, "epochs_num_stage1": 480, "lr_stage1": 0.01},
            **{
                "lr": 1e-5,
                "classifiers_lr": 0.01,
                "optimizer": "adam",
                "schedule": "constant",
                "text_loss_weight": 1.0,
            },
            **{"batch_size": 32, "epochs_num": 64, "iterations_per_epoch": 10_000, "image_size": 512},
        },
        "Mao and Hu, ICANN 2024, and the code of its authors",
    ),
    "gsv-salad": Recipe(
        "DINOv2 with the SALAD head; for GSV-Cities",
        {
            **_GSV_CITIES,
            **{"backbone": DINOV2, "head": "salad", "fc_output_dim": 8448, "unfreeze": 4, "image_size": 224},
            **{"optimizer": "adamw", "lr": 6e-5, "weight_decay": 9.5e-9, "schedule": "linear", "schedule_factor": 0.2},
            **{"batch_size": 240, "epochs_num": 4, "iterations_per_epoch": 1000},
        },
        "Izquierdo and Civera, CVPR 2024, and main.py of github.com/serizba/salad: 60 places of 4 photos, rates down "
        "to a fifth over 4000 steps",
        (_RANDAUGMENT[0], _EPOCHS[0]),
    ),
    "gsv-boq": Recipe(
        "DINOv2 with Bag-of-Queries; for GSV-Cities",
        {
            **_GSV_CITIES,
            **{"backbone": DINOV2, "head": "boq", "fc_output_dim": 12288, "unfreeze": 2, "image_size": 224},
            "head_arguments": {"channels": 384},
            **{"optimizer": "adamw", "lr": 1e-4, "weight_decay": 1e-4, "warmup_steps": 4880},
            **{"schedule": "steps", "milestones": [10, 20], "schedule_factor": 0.1},
            **{"batch_size": 512, "epochs_num": 40, "iterations_per_epoch": 488},
        },
        "Ali-bey, Chaib-draa and Giguère, CVPR 2024, and train.py of github.com/amaralibey/Bag-of-Queries: 128 places "
        "of 4 photos, 10 epochs of warm-up",
        (
            "The head has the 12,288 dimensions of the published weights; train.py has 8192.",
            _RANDAUGMENT[0],
            _EPOCHS[0],
        ),
    ),
    "gsv-mixvpr": Recipe(
        "ResNet50 up to its third layer, with the MixVPR head; for GSV-Cities",
        {
            **_GSV_CITIES,
            **{"backbone": "ResNet50", "backbone_arguments": {"layers": 3}, "head": "mixvpr", "fc_output_dim": 4096},
            **{"unfreeze": 1, "image_size": 320},
            **{"optimizer": "sgd", "lr": 0.05, "weight_decay": 1e-3, "warmup_steps": 650},
            **{"schedule": "steps", "milestones": [5, 10, 15], "schedule_factor": 1 / 3},
            **{"batch_size": 480, "epochs_num": 25, "iterations_per_epoch": 520},
        },
        "Ali-bey, Chaib-draa and Giguère, WACV 2023, and main.py of github.com/amaralibey/MixVPR: 120 places of 4 "
        "photos, SGD with momentum 0.9",
        (_RANDAUGMENT[0], _EPOCHS[0]),
    ),
}


def find_recipe(name: str) -> Recipe:
    """Return a recipe.

    Raises:
        ProgeoError: there is none of this name; it says the nearest.
    """
    if name not in RECIPES:
        raise ProgeoError(
            f"There is no `recipe` {name!r}{suggest(name, RECIPES)}. The recipes are: {', '.join(RECIPES)}."
        )
    return RECIPES[name]


def describe_recipe(name: str) -> str:
    """Return a recipe as text: what it trains, every value, the source, and what is otherwise there."""
    recipe = find_recipe(name)
    lines = [f"Recipe {name}. {recipe.summary}.", f"Source: {recipe.source}."]
    lines += [f"  `{setting}` {value}" for setting, value in recipe.settings.items()]
    return "\n".join([*lines, *recipe.departures])
