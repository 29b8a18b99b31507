"""A run that is killed again and again ends as one that was left alone."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

# One process imports everything; each attempt is a fork of it, so that ten of them take seconds.
SCRIPT = """
import os, random, signal, sys, threading
import open_clip, torch
from pathlib import Path
from progeo.cli.train import TrainOptions
from progeo.cli.train import run as run_training
from progeo.training.methods.prompt_learning import PromptPhase

city, configs = sys.argv[1:]
open_clip.add_model_config(configs)
torch.set_num_threads(1)
PromptPhase.seconds_between_checkpoints = 0
settings = dict(
    train_set_folder=f"{city}/train", val_set_folder=f"{city}/val", test_set_folder=f"{city}/test",
    backbone="open_clip:progeo-tiny-rn", backbone_weights="none", M=10, alpha=360, N=2, L=1, groups_num=2,
    min_images_per_class=4, batch_size=4, epochs_num=3, iterations_per_epoch=6, image_size=64, num_workers=1,
    batch_size_stage1=8, epochs_num_stage1=40, device="cpu", lr=1e-3,
)

def attempt(folder, resume, last_step=None, delay=0.0):
    child = os.fork()
    if not child:
        step, steps = torch.optim.Adam.step, []

        def count(*arguments, **options):
            steps.append(None)
            if len(steps) == last_step:
                threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
            return step(*arguments, **options)

        torch.optim.Adam.step = count
        try:
            run_training(TrainOptions(**settings, resume_train=folder if resume else None), Path(folder))
            Path(f"{folder}.steps").write_text(str(len(steps)))
            os._exit(0)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
    return os.waitpid(child, 0)[1]

for folder in ("undisturbed", "killed"):
    os.mkdir(folder)
assert attempt("undisturbed", False) == 0
steps = int(Path("undisturbed.steps").read_text())
generator = random.Random(0)
killed = 0
for _ in range(10):
    # Each attempt gets a little further, and is killed within a step, or in the checkpoint behind it.
    last_step, delay = generator.randint(1, steps // 8), generator.uniform(0, 0.005)
    killed += attempt("killed", os.path.exists("killed/config.yaml"), last_step, delay) == signal.SIGKILL
assert attempt("killed", True) == 0
print("steps", steps, Path("killed.steps").read_text(), "killed", killed)
"""


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def test_killed_ten_times_a_run_ends_with_the_same_losses(
    tiny_city: Path, tiny_clips: dict[str, str], tiny_clip_configs: Path, tmp_path: Path
) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, str(tiny_city), str(tiny_clip_configs)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    *_, steps, last_steps, _, killed = done.stdout.split()
    assert killed == "10"
    assert int(last_steps) < int(steps)  # what was killed had come to something
    for table in ("stage1_metrics.csv", "metrics.csv"):
        assert rows_of(tmp_path / "killed" / table) == rows_of(tmp_path / "undisturbed" / table)
