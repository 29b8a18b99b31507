"""Recipes: settings as data, printed and overridden."""

from __future__ import annotations

import dataclasses

import pytest

from progeo import cli
from progeo.cli.program import parse_options
from progeo.errors import ProgeoError
from progeo.training.recipes import RECIPES, find_recipe
from progeo.training.resolve import PUBLISHED_CELLS
from progeo.training.settings import TrainSettings, check_values, make_settings


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_settings_with_a_source(name: str) -> None:
    recipe = find_recipe(name)
    assert recipe.settings.keys() <= {field.name for field in dataclasses.fields(TrainSettings)}
    check_values(make_settings({"recipe": name}))
    assert "20" in recipe.source


def test_cosplace_is_the_default_training() -> None:
    values = find_recipe("cosplace").settings
    plain = dataclasses.asdict(make_settings({}))
    assert {name: values[name] for name in PUBLISHED_CELLS} == PUBLISHED_CELLS
    assert all(values[name] == plain[name] for name in ("lr", "classifiers_lr", "batch_size", "iterations_per_epoch"))


def test_help_prints_the_values_and_the_source(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["train", "--recipe", "gsv-salad", "--help"])
    output = capsys.readouterr().out
    assert "serizba/salad" in output and "--schedule_factor" in output and "9.5e-09" in output
    assert "--head salad" in " ".join(output.split())


def test_ones_own_options_win() -> None:
    words = ["--recipe=gsv-mixvpr", "--train_set_folder", "photos", "--lr", "0.1"]
    options = parse_options("train", words)
    assert (options.lr, options.optimizer, options.milestones) == (0.1, "sgd", [5, 10, 15])
    assert options.backbone_arguments == {"layers": 3}
    settings = make_settings({"recipe": "gsv-mixvpr", "lr": 0.1, "optimizer": None})
    assert (settings.lr, settings.optimizer, settings.batch_size) == (0.1, "sgd", 480)


def test_unknown_recipes_are_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ProgeoError, match=r"no `recipe` 'gsv-sald' \(did you mean gsv-salad\?\).*cosplace, progeo"):
        make_settings({"recipe": "gsv-sald"})
    assert cli.main(["train", "--recipe", "x", "--train_set_folder", "photos"]) == 2
    assert "There is no --recipe 'x'" in capsys.readouterr().err
