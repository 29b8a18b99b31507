from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import polars as pl
import pytest

from progeo.checking import classes
from progeo.checking.classes import count_classes, recommend
from progeo.cli.data_check import spell_settings
from progeo.cli.train import TrainOptions, read_settings
from progeo.training.groups import make_groups
from progeo.training.resolve import resolve


def photos(places: int, each: int, step: float, *, headings: bool = True) -> pl.DataFrame:
    """Photos of places in a square, ``step`` metres apart, all looking north where they have a heading."""
    side = int(np.ceil(places**0.5))
    place = np.repeat(np.arange(places), each)
    heading = pl.Series([5.0 if headings else None] * len(place), dtype=pl.Float64)
    position = {"utm_east": place % side * step, "utm_north": place // side * step, "utm_zone": 33, "utm_letter": "U"}
    columns = position | {"heading": heading}
    return pl.DataFrame({"path": [f"{row}.jpg" for row in range(len(place))], **columns})


def test_every_setting_is_counted_as_the_groups_are_made() -> None:
    table = photos(16, 5, 10)
    for one in count_classes(table):
        options: dict[str, Any] = {name: getattr(one, name) for name in ("M", "alpha", "min_images_per_class")}
        if one.classes:
            groups = make_groups(table, **options, groups_num=one.groups)
            assert sum(len(group) for group in groups) == one.classes
            assert sum(len(group.images) for group in groups) == one.images


def test_without_headings_classes_go_by_position() -> None:
    assert {one.alpha for one in count_classes(photos(4, 5, 10, headings=False))} == {360}


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (photos(2500, 10, 10), {"M": 10, "alpha": 30, "N": 5, "L": 2, "groups_num": 8, "min_images_per_class": 10}),
        (photos(400, 5, 10), {"M": 10, "alpha": 30, "N": 2, "groups_num": 4, "min_images_per_class": 5}),
        (
            photos(30, 4, 10, headings=False),
            {"M": 10, "alpha": 360, "N": 1, "groups_num": 1, "min_images_per_class": 4},
        ),
        (photos(100, 1, 10, headings=False), {"M": 20, "alpha": 360, "min_images_per_class": 4}),
    ],
)
def test_recommendation(table: pl.DataFrame, expected: dict[str, int]) -> None:
    best = recommend(table, count_classes(table))
    assert best is not None
    assert expected.items() <= best.settings.items()
    names = ("M", "alpha", "N", "L", "groups_num", "min_images_per_class")
    groups = make_groups(table, **{name: best.settings[name] for name in names})
    assert len(groups) == best.settings["groups_num"]
    assert max(len(group) for group in groups) == best.largest_group
    assert f"{sum(len(group.images) for group in groups):,}" in best.why or len(groups) == 8
    assert f"--M {expected['M']} --alpha {expected['alpha']} --N " in spell_settings(best.settings)


def test_photos_far_from_each_other_make_no_classes() -> None:
    table = photos(30, 1, 1000)
    assert recommend(table, count_classes(table)) is None


def test_small_sets_get_fewer_steps() -> None:
    table = photos(30, 4, 10)
    best = recommend(table, count_classes(table))
    assert best is not None
    assert (best.settings["epochs_num"], best.settings["iterations_per_epoch"], best.steps) == (20, 20, 400)


def test_small_sets_are_trained_gently_and_large_ones_as_published() -> None:
    small, large = photos(30, 4, 10), photos(2500, 10, 10)
    best = recommend(small, count_classes(small))
    assert best is not None
    assert {name: best.settings[name] for name in ("backbone", "unfreeze", "keep_start")} == {
        **{"backbone": "EfficientNet-Lite0", "unfreeze": 1, "keep_start": 0.5}
    }
    many = recommend(large, [dataclasses.replace(one, images=10 * one.images) for one in count_classes(large)])
    assert many is not None
    assert (many.settings["backbone"], many.settings["image_size"]) == ("ResNet18", 512)
    assert "unfreeze" not in many.settings
    own = recommend(small, count_classes(small), "ResNet50", 320)
    assert own is not None and (own.settings["backbone"], own.settings["image_size"]) == ("ResNet50", 320)


def test_costs_are_those_of_the_published_training() -> None:
    sets = {f"{part}_set_folder": "photos" for part in ("train", "val", "test")}
    published = resolve(read_settings(TrainOptions(**sets)))
    assert (published.backbone, published.image_size, published.batch_size) == (
        *(classes.BACKBONE, classes.IMAGE_SIZE, classes.BATCH_SIZE),
    )
    assert (published.N, published.L) == classes.N_AND_L
    assert (published.groups_num, published.iterations_per_epoch) == (classes.GROUPS, classes.STEPS)
