"""Prompts as ProGEO's published code saves them: read without running it, and tied to the classes in its order."""

from __future__ import annotations

import csv
import sys
import types
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from progeo.cli.train import TrainOptions
from progeo.cli.train import run as run_training
from progeo.errors import ProgeoError
from progeo.training.groups import make_groups
from progeo.training.methods import published_prompts
from progeo.training.methods.published_prompts import PICKLED, list_classes, load_published_prompts, read_tokens
from progeo.training.settings import TrainSettings

CELLS = {"M": 10, "alpha": 30, "N": 2, "L": 2, "min_images_per_class": 3}


class PromptLearner(nn.Module):
    """A module with the parameters and buffers of the published one."""

    def __init__(self, tokens: torch.Tensor) -> None:
        super().__init__()
        self.tokenized_prompts = torch.zeros(1, 77, dtype=torch.long)
        self.cls_ctx = nn.Parameter(tokens)
        self.register_buffer("token_prefix", torch.zeros(1, 5, tokens.shape[2]))
        self.num_class = len(tokens)


@pytest.fixture
def learner() -> Iterator[type[PromptLearner]]:
    """The class under the name by which the published code pickles it; gone before anything is read."""
    module, _, name = PICKLED.rpartition(".")
    package = types.ModuleType(module)
    sys.modules[module.partition(".")[0]] = sys.modules[module] = package
    before = PromptLearner.__module__
    PromptLearner.__module__, package.PromptLearner = module, PromptLearner  # type: ignore[attr-defined]
    try:
        yield PromptLearner
    finally:
        PromptLearner.__module__ = before
        for name in (module, module.partition(".")[0]):
            sys.modules.pop(name, None)


def forget_published_code() -> None:
    module = PICKLED.rpartition(".")[0]
    for name in (module, module.partition(".")[0]):
        sys.modules.pop(name, None)


def make_table(count: int, seed: int) -> pl.DataFrame:
    """Photos in the order of their paths, which is not that of their places."""
    generator = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "path": [f"{number:05d}.jpg" for number in range(count)],
            "utm_east": generator.uniform(500_000, 500_080, count),
            "utm_north": generator.uniform(4_000_000, 4_000_060, count),
            "utm_zone": 10,
            "utm_letter": "S",
            "heading": generator.uniform(0, 359.9, count),
        }
    )


def list_as_published(table: pl.DataFrame, M: int, alpha: int, N: int, L: int, least: int) -> list[list[Any]]:
    """Return the classes of all groups as ProGEO describes and lists them: in dictionaries and sets, as photos come."""
    classes, counts = [], defaultdict(int)
    for east, north, heading in table.select("utm_east", "utm_north", "heading").rows():
        class_id = (int(east // M * M), int(north // M * M), int(heading // alpha * alpha))
        classes.append(class_id)
        counts[class_id] += 1
    groups: dict[tuple[int, ...], set[tuple[int, ...]]] = defaultdict(set)
    for class_id in classes:
        if counts[class_id] >= least:
            east, north, heading = class_id
            groups[east % (M * N) // M, north % (M * N) // M, heading % (alpha * L) // alpha].add(class_id)
    return [list(group) for group in groups.values()]


@pytest.mark.parametrize("seed", [0, 1])
def test_groups_and_classes_come_in_the_published_order(seed: int) -> None:
    table = make_table(3000, seed)
    expected = list_as_published(table, 10, 30, 2, 2, 3)
    assert len(expected) == 8 and max(map(len, expected)) > 30
    groups = make_groups(table, **CELLS, groups_num=8, as_listed=True)
    assert [[tuple(group.classes[number]) for number in list_classes(group)] for group in groups] == expected
    assert make_groups(table, **CELLS, groups_num=3, as_listed=True)[2].key == groups[2].key
    ascending = make_groups(table, **CELLS, groups_num=8)
    assert [group.key for group in ascending] == sorted(group.key for group in groups) != [g.key for g in groups]


def make_tokens(expected: list[list[Any]]) -> list[torch.Tensor]:
    """Tokens that say to which class they belong."""
    return [
        torch.tensor(group, dtype=torch.float32)[:, None, :].repeat(1, 4, 1) + torch.arange(4)[:, None] / 8
        for group in expected
    ]


def test_the_tokens_of_each_class_are_its_own(
    learner: type[PromptLearner], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = make_table(2000, 2)
    tokens = make_tokens(list_as_published(table, 10, 30, 2, 2, 3))
    torch.save([learner(one) for one in tokens], tmp_path / "modules.pth")
    torch.save([learner(one).state_dict() for one in tokens], tmp_path / "dicts.pth")
    torch.save([(one / 1e6).half() for one in tokens[:5]], tmp_path / "tokens.pt")
    forget_published_code()
    groups = make_groups(table, **CELLS, groups_num=4, as_listed=True)
    settings = TrainSettings(**CELLS, groups_num=4)
    for name in ("modules.pth", "dicts.pth"):
        prompts = load_published_prompts(str(tmp_path / name), settings, groups)
        for group, found in zip(groups, prompts.tokens, strict=True):
            np.testing.assert_array_equal(found[:, 0].numpy(), group.classes)
        assert found.shape[1] == 4 and not found.requires_grad
    assert "do not say which classes" in caplog.text
    assert read_tokens(tmp_path / "tokens.pt")[0].dtype == torch.float32


class Harmful:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("ran"),))


def test_what_holds_no_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    contents: dict[str, Any] = {
        "code": [Harmful()],
        "nothing": [],
        "words": ["cls_ctx"],
        "flat": [torch.zeros(3, 4)],
        "whole": [torch.zeros(3, 4, 8, dtype=torch.long)],
        "nan": [torch.full((3, 4, 8), torch.nan)],
        "other": {"a": torch.zeros(3, 4, 8)},
        "mixed": [torch.zeros(3, 4, 8), torch.zeros(3, 4, 9)],
    }
    for name, content in contents.items():
        torch.save(content, f"{name}.pth")
        with pytest.raises(ProgeoError, match=rf"{name}\.pth holds no prompts of ProGEO's code"):
            read_tokens(Path(f"{name}.pth"))
    assert not Path("ran").exists()
    Path("damaged.pth").write_bytes(Path("nan.pth").read_bytes()[:200])
    with pytest.raises(ProgeoError, match=r"damaged\.pth holds no prompts"):
        read_tokens(Path("damaged.pth"))
    with pytest.raises(ProgeoError, match=r"There are no prompts none\.pth"):
        read_tokens(Path("none.pth"))


def test_prompts_of_other_classes_or_another_sentence(tmp_path: Path) -> None:
    table = make_table(2000, 2)
    tokens = make_tokens(list_as_published(table, 10, 30, 2, 2, 3))
    torch.save(tokens[:3], tmp_path / "few.pth")
    groups = make_groups(table, **CELLS, groups_num=4, as_listed=True)
    with pytest.raises(ProgeoError, match=r"few\.pth are those of other classes: 3 groups.*learn prompts anew"):
        load_published_prompts(str(tmp_path / "few.pth"), TrainSettings(**CELLS), groups)
    with pytest.raises(ProgeoError, match="leave out `prompt_template`"):
        load_published_prompts(str(tmp_path / "few.pth"), TrainSettings(prompt_template="A X."), groups[:3])


def losses_of(folder: Path) -> list[str]:
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        return [row["loss"] for row in csv.DictReader(file)]


def test_stage_2_trains_with_them(
    tiny_city: Path, tiny_clips: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with the same tokens in a file of progeo's own."""
    monkeypatch.chdir(tmp_path)
    settings: dict[str, Any] = {
        **{name: str(tiny_city / name.split("_")[0]) for name in ("train_set_folder", "val_set_folder")},
        **{"test_set_folder": str(tiny_city / "test"), "backbone": tiny_clips["rn"], "backbone_weights": "none"},
        **{"M": 10, "alpha": 360, "N": 2, "L": 1, "groups_num": 2, "min_images_per_class": 4, "num_workers": 1},
        **{"batch_size": 4, "epochs_num": 1, "iterations_per_epoch": 2, "image_size": 64, "device": "cpu"},
        **{"batch_size_stage1": 8, "epochs_num_stage1": 2},
    }

    def run(name: str, **changes: Any) -> dict[str, Any]:
        Path(name).mkdir()
        return run_training(TrainOptions(**(settings | changes)), Path(name))

    first = run("first", stage=1)
    own = load_file(first["prompts"])
    run("own", stage=2, prompts=first["prompts"])
    monkeypatch.setattr(published_prompts, "list_classes", lambda group: np.arange(len(group)))
    torch.save([own["tokens.0"], own["tokens.1"]], "last_prompt_learners.pth")
    run("published", stage=2, prompts="last_prompt_learners.pth")
    assert losses_of(Path("published")) == losses_of(Path("own"))
    torch.save([own["tokens.0"][..., :7], own["tokens.1"][..., :7]], "narrow.pth")
    with pytest.raises(ProgeoError, match="have tokens of 7 numbers, but .* reads 64"):
        run("narrow", stage=2, prompts="narrow.pth")
