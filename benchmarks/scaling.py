"""Training on several devices: images a second, and the bytes that a process hands over in a step, counted.

    python -m benchmarks.scaling [--devices 1 2] [--backbone ResNet18] [--image_size 224] [--steps 20]

CosPlace and the metric method on pictures of a drawn city, random weights. Each number of devices is a run of its own:
processes on a machine without GPUs, else GPUs. The second epoch counts. Bytes are those of the tensors that go into
collective operations, whatever the backend makes of them.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from benchmarks.tables import write_table
from benchmarks.training import make_small_city, name_device
from progeo.training import ranks, train
from progeo.training.launching import launch
from progeo.training.trainer import Trainer

EPOCHS = 2
HANDED_OVER = {"all_reduce": 0, "all_gather_into_tensor": 1, "broadcast": 0}
"""Collective operations of tensors, and which argument is handed over."""


class Counter:
    """Counts the bytes that this process hands to collective operations in the steps of a training."""

    def __init__(self) -> None:
        self.bytes = self.steps = 0
        self.is_step = False

    def count(self, tensor: torch.Tensor) -> None:
        self.bytes += tensor.numel() * tensor.element_size() * self.is_step

    def install(self) -> None:
        """Watch the collective operations, the gradients of data parallel, and the steps."""
        for name, position in HANDED_OVER.items():
            setattr(dist, name, self.watch(getattr(dist, name), position))
        wrap, train_step = DistributedDataParallel.__init__, Trainer.train_step

        def hook(state: Any, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
            self.count(bucket.buffer())
            return allreduce_hook(state, bucket)

        def wrap_and_watch(module: Any, *arguments: Any, **options: Any) -> None:
            wrap(module, *arguments, **options)
            module.register_comm_hook(None, hook)

        def step(trainer: Any, *arguments: Any) -> torch.Tensor:
            self.is_step = True
            loss = train_step(trainer, *arguments)
            self.is_step = False
            self.steps += 1
            return loss

        DistributedDataParallel.__init__ = wrap_and_watch  # type: ignore[assignment, method-assign]
        Trainer.train_step = step  # type: ignore[assignment, method-assign]

    def watch(self, operation: Any, position: int) -> Any:
        def watched(*arguments: Any, **options: Any) -> Any:
            self.count(arguments[position])
            return operation(*arguments, **options)

        return watched


def measure(arguments: argparse.Namespace) -> None:
    """Train as one of several processes; the first writes images a second and bytes a step to the folder."""
    counter = Counter()
    counter.install()
    folder = Path(arguments.folder)
    settings: dict[str, Any] = {
        **{"backbone_weights": "none", "image_size": arguments.image_size, "batch_size": arguments.batch_size},
        **{"iterations_per_epoch": arguments.steps, "epochs_num": EPOCHS, "N": 1, "L": 2, "groups_num": 2},
        **{"min_images_per_class": 5, "method": arguments.methods[0], "images_per_class": 4},
    }
    run = folder / f"{arguments.methods[0]}_{arguments.devices[0]}"
    train(arguments.backbone, folder / "city" / "train", folder=run, **settings)
    if ranks.number() == 0:
        with (run / "metrics.csv").open(encoding="utf-8") as file:
            seconds = float(list(csv.DictReader(file))[-1]["seconds"])
        images = arguments.steps * arguments.batch_size / seconds
        (run / "figures.json").write_text(json.dumps([images, counter.bytes / counter.steps]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--methods", nargs="+", default=["cosplace", "metric"])
    parser.add_argument("--backbone", default="ResNet18")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch_size", type=int, default=32, help="of all devices together")
    parser.add_argument("--steps", type=int, default=20, help="of an epoch")
    parser.add_argument("--folder", help="train one way on the city in this folder, instead of all on a new one")
    arguments = parser.parse_args()
    if arguments.folder:
        measure(arguments)
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        make_small_city(Path(folder) / "city", arguments.image_size)
        for method in arguments.methods:
            for devices in arguments.devices:
                own = ["--folder", folder, "--devices", str(devices), "--methods", method]
                command = [sys.executable, "-m", "benchmarks.scaling", *sys.argv[1:], *own]
                if code := launch(command, devices, 1):
                    sys.exit(code)
                figures = (Path(folder) / f"{method}_{devices}" / "figures.json").read_text()
                images, handed_over = json.loads(figures)
                rows.append([method, str(devices), f"{images:.1f}", f"{handed_over / 1e6:.2f} MB"])
    what = f"{arguments.backbone}, {arguments.image_size} px, batches of {arguments.batch_size}"
    header = [f"{name_device()}: {what}", "processes", "images a second", "handed over in a step"]
    write_table("scaling", header, rows)


if __name__ == "__main__":
    main()
