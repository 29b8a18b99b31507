"""Speed and memory of training the image encoder, on a GPU where there is one, with and without two options.

    python -m benchmarks.training [--backbone CLIP-RN50] [--image_size 512] [--steps 300]

Two epochs on pictures of a drawn city, ProGEO's two stages, random weights. Each way is a whole run in a process of its
own, so that its peak memory is its own. The second epoch counts: the first one compiles.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.tables import write_table
from progeo.cli.train import TrainOptions
from progeo.cli.train import run as run_training
from progeo.devices import choose_device
from progeo_toy_city import CitySizes, make_toy_city

WAYS: dict[str, dict[str, Any]] = {
    "float32": {},
    "compile": {"compile": True},
    "use_amp16": {"use_amp16": True},
    "use_amp16+compile": {"use_amp16": True, "compile": True},
}
EPOCHS = 2


def measure(way: str, arguments: argparse.Namespace) -> tuple[float, float]:
    """Train one way in this process; return images a second of the last epoch, and the peak memory in gigabytes."""
    city, folder = Path(arguments.folder) / "city", Path(arguments.folder) / way
    folder.mkdir()
    options = TrainOptions(
        train_set_folder=str(city / "train"),
        val_set_folder=str(city / "val"),
        test_set_folder=str(city / "val"),
        backbone=arguments.backbone,
        backbone_weights="none",
        image_size=arguments.image_size,
        batch_size=arguments.batch_size,
        iterations_per_epoch=arguments.steps,
        epochs_num=EPOCHS,
        epochs_num_stage1=EPOCHS,
        N=1,
        L=2,
        groups_num=2,
        min_images_per_class=5,
        resize_test_imgs=True,
        cache_feature_folder=arguments.folder,
        **WAYS[way],
    )
    run_training(options, folder)
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        seconds = float(list(csv.DictReader(file))[-1]["seconds"])
    if choose_device("auto").type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 1e9
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return arguments.steps * arguments.batch_size / seconds, peak


def make_small_city(folder: Path, image_size: int) -> None:
    """Draw a town with enough photos to train on, and few to validate and test with."""
    few = {"val_places": 4, "val_queries": 8, "test_places": 4, "test_queries": 8}
    sizes = CitySizes(image_size=image_size, blocks=2, train_places=16, train_dates=6, **few)
    make_toy_city(folder, sizes=sizes, show_progress=True)


def name_device() -> str:
    if choose_device("auto").type == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="CLIP-RN50")
    parser.add_argument("--image_size", type=int, default=512)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=300, help="of an epoch")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--folder", help="train one way on the city in this folder, instead of all on a new one")
    arguments = parser.parse_args()
    if arguments.folder:
        figures = [measure(way, arguments) for way in arguments.ways]
        print(json.dumps(figures[0]))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        make_small_city(Path(folder) / "city", arguments.image_size)
        for way in arguments.ways:
            command = [sys.executable, "-m", "benchmarks.training", *sys.argv[1:], "--folder", folder, "--ways", way]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            images, gigabytes = json.loads(output.splitlines()[-1])
            rows.append([way, f"{images:.1f}", f"{gigabytes:.1f} GB"])
    what = f"{arguments.backbone}, {arguments.image_size} px, batches of {arguments.batch_size}"
    header = [f"{name_device()}: {what}", "images a second", "peak memory"]
    write_table("training", header, rows)


if __name__ == "__main__":
    main()
