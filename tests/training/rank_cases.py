"""Trainings of twenty steps that leave behind what they did, in one process or several; see ``test_ranks``.

Each rank writes ``FOLDER/NAME.RANK.pt``: of each case the losses of all steps, and the weights in the end.
"""

from __future__ import annotations

import shutil
import signal
import sys
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import open_clip
import torch

from progeo.models.engines.torch import TorchEngine
from progeo.training import ranks, train
from progeo.training.trainer import Trainer, create_fabric

SETTINGS: dict[str, Any] = {
    **{"M": 10, "alpha": 360, "N": 2, "L": 1, "groups_num": 2, "min_images_per_class": 4, "num_workers": 0},
    **{"batch_size": 8, "epochs_num": 2, "iterations_per_epoch": 10, "image_size": 32, "device": "cpu"},
    **{"backbone_weights": "none", "max_unreadable_images": 0},
}
METRIC: dict[str, Any] = {"method": "metric", "images_per_class": 4, "schedule": "constant", "fc_output_dim": 16}
CLIP: dict[str, Any] = {
    **{"method": "progeo", "image_size": 64, "batch_size_stage1": 6, "epochs_num_stage1": 4, "lr_stage1": 1e-3},
}
# Adam's steps do not depend on the scale of gradients, those of SGD do.
SGD: dict[str, Any] = {"optimizer": "sgd", "lr": 1e-3}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "cosplace, batch norm": ("timm:test_resnet", {**SGD, "fc_output_dim": 16, "soft_triplet": True}),
    "cosplace, no batch norm": ("timm:test_convnext", {"fc_output_dim": 16, "parallel_groups": 2}),
    "metric, batch norm": ("timm:test_resnet", METRIC),
    "metric, no batch norm": ("timm:test_convnext", {**METRIC, **SGD, "clip_gradients": 0.1}),
    "progeo, batch norm": ("open_clip:progeo-tiny-rn", {**CLIP, **SGD}),
    "progeo, no batch norm": ("open_clip:progeo-tiny-vit", CLIP),
    "local steps": ("timm:test_resnet", {"fc_output_dim": 16, "local_steps": 4, "epochs_num": 1}),
}
*ALIKE, LOCAL = CASES
RESUMED = ["cosplace, batch norm", "metric, no batch norm", "progeo, batch norm"]
"""Cases that are stopped and go on with another number of ranks, or run in four: one of each method."""
COMPARED = {
    "one": [*product(ALIKE, [torch.float64]), *product(RESUMED, [torch.float32])],
    "two": [*product(ALIKE, [torch.float64]), *product(RESUMED, [torch.float32])],
    "four": [*product(RESUMED, [torch.float64])],
}
"""Cases of a job that go through whole. float32 takes rounding into account; all else is exact arithmetic."""
STOP_AT = (1, 3)
"""Epoch and step in flight when a run is stopped, by a signal to its last rank alone."""


class Recorded:
    """What a case did: the losses of its steps, and its weights, those of classifiers and prompts among them."""

    def __init__(self, stop: bool) -> None:
        self.losses: list[float] = []
        self.weights: dict[str, torch.Tensor] = {}
        self.stop = stop

    def step(self, trainer: Trainer, *arguments: Any) -> torch.Tensor:
        is_last = ranks.number() == ranks.count() - 1
        if self.stop and trainer.phase.gives_model and is_last:
            state = trainer.state
            if (state.epoch, state.step) == STOP_AT:
                handler = signal.getsignal(signal.SIGINT)  # a real signal also reaches handlers of C libraries
                assert callable(handler)
                handler(signal.SIGINT, None)
        loss = TRAIN_STEP(trainer, *arguments)
        self.losses.append(float(loss))
        return loss

    def fit(self, trainer: Trainer) -> Any:
        try:
            return FIT(trainer)
        finally:
            name = trainer.phase.name
            self.weights |= {f"{name}.{key}": value.clone() for key, value in trainer.phase.state_dict().items()}


TRAIN_STEP, FIT, PREPARE = Trainer.train_step, Trainer.fit, TorchEngine._prepare


def run_case(name: str, city: Path, folder: Path, dtype: torch.dtype, stop: bool) -> dict[str, Any]:
    """Run a case, or go on with it where its folder is there already."""
    backbone, settings = CASES[name]
    recorded = Recorded(stop)
    torch.set_default_dtype(dtype)
    try:
        with (
            patch.object(Trainer, "train_step", lambda *arguments: recorded.step(*arguments)),
            patch.object(Trainer, "fit", lambda trainer: recorded.fit(trainer)),
            patch.object(TorchEngine, "_prepare", lambda *arguments: PREPARE(*arguments).to(dtype)),
        ):
            train(backbone, city / "train", folder=folder, **{**SETTINGS, **settings})
    except KeyboardInterrupt:
        assert stop
    finally:
        torch.set_default_dtype(torch.float32)
    return {"losses": recorded.losses, "weights": recorded.weights}


def run_job(job: str, city: Path, folder: Path) -> None:
    """Run cases: ``NAME``, ``NAME:stop`` in the middle, ``NAME:EARLIER`` from where that stopped."""
    name, _, what = job.partition(":")
    results = {}
    others = [LOCAL] if name == "local" else RESUMED
    for case, dtype in COMPARED.get(name, [*product(others, [torch.float64])]):
        own = folder / name / f"{case} {dtype}"
        if what not in ("", "stop") and ranks.number() == 0:
            shutil.copytree(folder / what / own.name, own)
        ranks.wait()
        results[case, dtype] = run_case(case, city, own, dtype, what == "stop")
    torch.save(results, folder / f"{name}.{ranks.number()}.pt")


def main(city: str, clips: str, folder: str, *jobs: str) -> None:
    """Run jobs as one of several ranks."""
    open_clip.add_model_config(clips)
    create_fabric(torch.device("cpu"), use_amp16=False)
    for job in jobs:
        run_job(job, Path(city), Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
