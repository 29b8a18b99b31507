"""What CosPlace classes a set makes with which settings, and which to start with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from progeo.console import format_count
from progeo.training.groups import assign_cells

BACKBONE, IMAGE_SIZE, BATCH_SIZE = "ResNet18", 512, 32
N_AND_L, GROUPS, EPOCHS, STEPS = (5, 2), 8, 50, 10_000
"""The published training, from which a recommendation departs as little as the set allows."""
CELLS = (10, 20, 50, 100)
ANGLES = (30, 60, 90, 360)
MINIMA = (10, 5, 4, 3)
ENOUGH_IMAGES = 0.5
"""Share of the images that settings must keep in classes to be recommended."""
ENOUGH_CLASSES = 50
"""Classes that each group should have: with fewer the task is too easy."""
EPOCHS_OF_SMALL_SETS, VIEWS_OF_EACH = 20, 30
"""For sets too small for the published steps: how often training should show each image in all."""
FEWEST_STEPS = 20
SMALL_SET = 20_000
"""Images below which a set is trained on gently, so that it costs little of what is known of other places."""
SMALL_BACKBONE, SMALL_SIZE = "EfficientNet-Lite0", 224
GENTLE: dict[str, Any] = {"unfreeze": 1, "lr": 1e-4, "keep_start": 0.5}


@dataclass(frozen=True)
class Setting:
    """What one choice of M, alpha and the least images of a class leaves."""

    M: int
    alpha: int
    min_images_per_class: int
    classes: int
    images: int
    groups: int
    """Groups with the published N and L."""


@dataclass(frozen=True)
class Recommendation:
    """What to start with, and the reason for it."""

    settings: dict[str, Any]
    """Arguments of training: backbone and image_size, M, alpha, N, L, groups_num, min_images_per_class, epochs_num and
    iterations_per_epoch; of a small set also how gently: unfreeze, lr, keep_start."""
    largest_group: int
    """Classes of the largest group, which training holds in memory one at a time."""
    why: str

    @property
    def steps(self) -> int:
        """Training steps in all."""
        steps: int = self.settings["epochs_num"] * self.settings["iterations_per_epoch"]
        return steps


def count_classes(table: pl.DataFrame) -> list[Setting]:
    """Return the classes and groups for each M and alpha, by the least number of images of a class."""
    N, L = N_AND_L
    settings = []
    for M in CELLS:
        for alpha in ANGLES if table["heading"].null_count() == 0 else ANGLES[-1:]:
            cells, sizes = np.unique(assign_cells(table, M, alpha), axis=0, return_counts=True)
            for least in MINIMA:
                kept = sizes >= least
                groups = len(np.unique(cells[kept] % [N, N, L], axis=0))
                settings.append(Setting(M, alpha, least, int(kept.sum()), int(sizes[kept].sum()), groups))
    return settings


def group_by_place(settings: list[Setting]) -> dict[tuple[int, int], list[Setting]]:
    """Return the settings by M and alpha, in their order."""
    grouped: dict[tuple[int, int], list[Setting]] = {}
    for setting in settings:
        grouped.setdefault((setting.M, setting.alpha), []).append(setting)
    return grouped


def recommend(
    table: pl.DataFrame, settings: list[Setting], backbone: str | None = None, image_size: int | None = None
) -> Recommendation | None:
    """Return the smallest places that still hold most of the images; None where not even the largest do.

    ``backbone`` and ``image_size`` are those that will be trained; without them those that suit the size of the set.
    """
    by_size = sorted(settings, key=lambda one: (one.M**2 * one.alpha, -one.min_images_per_class))
    found = next((one for one in by_size if one.classes > 1 and one.images >= ENOUGH_IMAGES * len(table)), None)
    if found is None:
        return None
    N, L, sizes = _choose_groups(table, found)
    groups, groups_num = len(sizes), min(len(sizes), GROUPS)
    epochs, steps = EPOCHS, STEPS
    if found.images * VIEWS_OF_EACH < EPOCHS * STEPS * BATCH_SIZE:
        epochs = EPOCHS_OF_SMALL_SETS
        views = found.images * VIEWS_OF_EACH
        steps = min(steps, max(FEWEST_STEPS, round(views / (epochs * BATCH_SIZE))))
    shown = epochs * steps * BATCH_SIZE
    why = (
        f"M {found.M} and alpha {found.alpha} are the smallest places that keep at least half of the images in classes "
        f"of {found.min_images_per_class} or more: {found.images:,} of {len(table):,} in {found.classes:,} classes, "
        f"in {format_count(groups, 'group')} of about {found.classes / groups:.0f}. {epochs} epochs of {steps:,} steps "
        f"show each about {shown / found.images:.0f} times"
    )
    small = found.images < SMALL_SET
    backbone = backbone or (SMALL_BACKBONE if small else BACKBONE)
    chosen = {
        "backbone": backbone,
        "image_size": image_size or (SMALL_SIZE if backbone == SMALL_BACKBONE else IMAGE_SIZE),
        **{"M": found.M, "alpha": found.alpha, "N": N, "L": L, "groups_num": groups_num},
        **{"min_images_per_class": found.min_images_per_class, "epochs_num": epochs, "iterations_per_epoch": steps},
        **(GENTLE if small else {}),
    }
    return Recommendation(chosen, largest_group=max(sizes[:groups_num]), why=why)


def _choose_groups(table: pl.DataFrame, setting: Setting) -> tuple[int, int, list[int]]:
    """Return N, L and the classes of each group they make, as far apart as leaves each group enough classes."""
    cells, sizes = np.unique(assign_cells(table, setting.M, setting.alpha), axis=0, return_counts=True)
    kept = cells[sizes >= setting.min_images_per_class]
    for N, L in (N_AND_L, (2, 2), (1, 1)):
        groups = np.unique(kept % [N, N, L], axis=0, return_counts=True)[1].tolist()
        if len(kept) >= ENOUGH_CLASSES * len(groups):
            break
    return N, L, groups
