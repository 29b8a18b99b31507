"""Starting a process for each device, what can be wrong with that, and how processes end together."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from progeo import cli
from progeo.errors import ProgeoError
from progeo.training import train
from progeo.training.launching import find_launched, launch

SETTINGS: dict[str, Any] = {
    **{"M": 10, "alpha": 360, "N": 2, "L": 1, "groups_num": 2, "min_images_per_class": 4, "num_workers": 1},
    **{"batch_size": 4, "epochs_num": 2, "iterations_per_epoch": 4, "image_size": 32, "device": "cpu", "lr": 1e-3},
    **{"backbone": "timm:test_resnet", "backbone_weights": "none", "fc_output_dim": 16},
}
# The command, where one rank does something at its third step.
SCRIPT = """
import os, signal, sys
from progeo.cli import main
from progeo.training.trainer import Trainer

step = Trainer.train_step

def act(trainer, *arguments):
    if trainer.state.step == 2 and os.environ["RANK"] == "1":
        {what}
    return step(trainer, *arguments)

Trainer.train_step = act
sys.exit(main())
"""


def spell(city: Path, **changes: Any) -> list[str]:
    """Return the arguments of a training on the tiny city."""
    sets = {f"{name}_set_folder": city / name for name in ("train", "val", "test")}
    return ["train", *(f"--{name}={value}" for name, value in {**sets, **SETTINGS, **changes}.items())]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"devices": 4096}, ["--devices 4096", f"has {os.cpu_count()} processor", "or fewer"]),
        ({"devices": 2, "batch_size": 7}, ["--batch_size 7", "among 2", "use 6 or 8"]),
        ({"num_nodes": 2}, ["--num_nodes 2", "MASTER_ADDR", "NODE_RANK", "each machine"]),
    ],
)
def test_errors_at_the_start(
    tiny_city: Path, changes: dict[str, Any], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(spell(tiny_city, **changes)) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert all(part in message for part in parts), message
    assert not list(Path().iterdir())


def test_a_call_from_python_says_how_to_start_it(tiny_city: Path) -> None:
    settings = {name: value for name, value in SETTINGS.items() if name != "backbone"}
    with pytest.raises(ProgeoError, match="`devices` 2 .*progeo train .*torchrun"):
        train("timm:test_resnet", tiny_city / "train", **settings, devices=2)


def test_who_started_the_processes_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_launched() is None
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "16")
    monkeypatch.setenv("SLURM_STEP_NUM_NODES", "2")
    assert find_launched() == (8, 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("WORLD_SIZE", "12")
    assert find_launched() == (4, 3)


def run_script(city: Path, what: str, **changes: Any) -> int:
    return launch([sys.executable, "-c", SCRIPT.format(what=what), *spell(city, **changes)], 2, 1)


def test_a_lost_rank_ends_all_with_one_message(tiny_city: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_script(tiny_city, "os.kill(os.getpid(), signal.SIGKILL)") == 2
    output = " ".join(capfd.readouterr().err.split())
    assert output.count("Error: One of the 2 processes that train together is gone") == 1, output
    assert output.count("progeo train --resume_train logs/default/") == 1
    assert "Traceback" not in output


def test_processes_that_were_killed_are_named(capfd: pytest.CaptureFixture[str]) -> None:
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(ProgeoError, match="Of the 2 processes .* process 0 by SIGKILL, process 1 by SIGKILL"):
        launch([sys.executable, "-c", kill], 2, 1)


def test_a_signal_stops_all_ranks_after_the_same_step(tiny_city: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_script(tiny_city, "os.kill(os.getppid(), signal.SIGTERM)") == 130
    output = " ".join(capfd.readouterr().err.split())
    assert output.count("Continue with: progeo train --resume_train logs/default/") == 1, output
    (path,) = Path().glob("logs/default/*/last_checkpoint.pth")
    content = torch.load(path, weights_only=True)
    assert content["epoch"] == 0 and 3 <= content["step"] <= 4
    assert content["losses"]["loss"][: content["step"]].isfinite().all()


def test_torchrun_gives_the_run_of_one_process(tiny_city: Path, tmp_path: Path) -> None:
    city = tmp_path / "city"
    city.mkdir()
    for part in ("val", "test"):
        (city / part).symlink_to(tiny_city / part)
    (city / "train").mkdir()
    for number, photo in enumerate(sorted((tiny_city / "train").iterdir())):
        # Every second photo of a class cannot be read.
        (city / "train" / photo.name).write_bytes(photo.read_bytes() if number % 2 else b"no photo")
    assert cli.main(spell(city, save_dir="one")) == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "progeo"]
    done = subprocess.run([*torchrun, *spell(city, save_dir="two")], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (one,), (two,) = (list(Path("logs", name).iterdir()) for name in ("one", "two"))
    assert {path.name.partition(".out.")[0] for path in one.iterdir()} == {
        path.name.partition(".out.")[0] for path in two.iterdir()
    }
    logs = [(folder / "log.txt").read_text(encoding="utf-8") for folder in (one, two)]
    skipped = [sorted(re.findall("Skipped: (.*)", log)) for log in logs]
    assert skipped[0] == skipped[1] and len(skipped[0]) > 4
    assert logs[1].count("Epoch 2/2: loss") == done.stderr.count("Epoch 2/2: loss") == 1
    rows = []
    for folder in (one, two):
        with (folder / "metrics.csv").open(encoding="utf-8") as file:
            rows.append([[float(row[name]) for name in ("loss", "validation_R@1")] for row in csv.DictReader(file)])
    for first, second in zip(*rows, strict=True):
        assert first == pytest.approx(second, rel=1e-5)
