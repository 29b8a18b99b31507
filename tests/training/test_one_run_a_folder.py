"""Two trainings in one run folder, a clock that jumps back, a disk that fills up."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from progeo import files
from progeo.cli.train import TrainOptions
from progeo.cli.train import run as run_training
from progeo.errors import ProgeoError
from progeo.training.run import train
from progeo.training.trainer import Trainer

from ..limits import full_disk, needs_mount
from .conftest import MakeOptions


@pytest.fixture()
def make_options(make_options: MakeOptions) -> MakeOptions:
    return partial(make_options, epochs_num=2)


def run_in(name: str, options: TrainOptions) -> Path:
    Path(name).mkdir(exist_ok=True)
    run_training(options, Path(name))
    return Path(name)


def losses_of(folder: Path) -> list[str]:
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        return [row["loss"] for row in csv.DictReader(file)]


def in_the_middle(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> list[object]:
    """Call a function in the second step of a training, once; return what it raised."""
    train_step, raised = Trainer.train_step, []

    def step(self: Trainer, *arguments: Any) -> Any:
        if self.state.step == 1 and not raised:
            raised.append(None)
            try:
                do()
            except ProgeoError as error:
                raised[0] = error
        return train_step(self, *arguments)

    monkeypatch.setattr(Trainer, "train_step", step)
    return raised


@pytest.mark.parametrize("seeds", [None, [0]])
def test_a_second_training_is_refused(
    make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch, seeds: list[int] | None
) -> None:
    alone = run_in("alone", make_options(seeds=seeds))
    raised = in_the_middle(monkeypatch, lambda: run_training(make_options(resume_train="run", seeds=seeds)))
    run = run_in("run", make_options(seeds=seeds))
    assert "Another run works in run" in str(raised[0]) and "wait for its end, or stop it first" in str(raised[0])
    own = "" if seeds is None else "seed_0"
    assert losses_of(run / own) == losses_of(alone / own)
    assert (run / own / "results.json").is_file()
    run_training(make_options(resume_train="run", seeds=seeds))  # it is free again


def test_from_python_too(make_options: MakeOptions, tiny_city: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"M": 10, "alpha": 360, "N": 2, "L": 1, "groups_num": 2, "min_images_per_class": 4, "image_size": 32}
    steps = {"epochs_num": 1, "iterations_per_epoch": 2, "batch_size": 4, "num_workers": 1, "backbone_weights": "none"}

    def start() -> None:
        train("timm:test_resnet", tiny_city / "train", folder="run", device="cpu", **settings, **steps)

    raised = in_the_middle(monkeypatch, start)
    start()
    assert "Another run works in run" in str(raised[0])
    assert Path("run/best_model.safetensors").is_file()


def test_a_clock_that_jumps_back(make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a day in the middle of a run, which changes nothing; the run after it gets a folder of its own."""
    alone = run_in("alone", make_options())

    class Clock(datetime):
        day = 2

        @classmethod
        def now(cls, tz: object = None) -> Clock:  # type: ignore[override]
            return cls(2026, 1, cls.day, 12, 0, 0)

    def jump() -> None:
        Clock.day = 1
        monkeypatch.setattr("time.time", lambda: 1_767_000_000.0)

    monkeypatch.setattr(files, "datetime", Clock)
    in_the_middle(monkeypatch, jump)
    run_training(make_options())
    run_training(make_options())
    run_training(make_options(resume_train="logs/default/2026-01-02_12-00-00"))
    folders = sorted(path.name for path in Path("logs/default").iterdir())
    assert folders == ["2026-01-01_12-00-00", "2026-01-02_12-00-00"]
    for folder in folders:
        assert losses_of(Path("logs/default", folder)) == losses_of(alone)
        with Path("logs/default", folder, "metrics.csv").open() as file:
            assert all(float(row["seconds"]) >= 0 for row in csv.DictReader(file))


@needs_mount
def test_a_disk_that_fills_up_while_training(make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = run_in("alone", make_options())
    with full_disk(Path("disk"), 30_000) as fill:
        save = Trainer.save

        def filled(self: Trainer) -> None:
            if self.state.epoch == 1:
                fill(leave=20)
            save(self)

        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "save", filled)
            with pytest.raises(ProgeoError, match=r"No space left.*Please free some space.*Once this is mended"):
                run_in("disk/run", make_options())
        assert not list(Path("disk/run").glob(".*.tmp"))
        Path("disk/ballast").unlink()
        run_training(make_options(resume_train="disk/run"))
        assert losses_of(Path("disk/run")) == losses_of(alone)
