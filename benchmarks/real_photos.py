"""Training on real photographs, and what it does for other places: before and after, several seeds.

    python -m benchmarks.real_photos DATASETS [--out logs/real_photos] [--seeds 0 1 2]

DATASETS is a folder of test sets (each with ``database`` and ``queries``) and the script ``make_gsv_windows.py``.
Work that is done is kept in the output folder, so that the script can be stopped and started again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tables import write_table
from progeo.cli.train import TrainOptions
from progeo.cli.train import run as run_training
from progeo.devices import choose_device, derive_seed
from progeo.evaluation.evaluate import evaluate
from progeo.evaluation.evaluation_set import read_evaluation_set
from progeo.models.building import create_model
from progeo.models.network import PlaceNetwork
from progeo.models.published import load_network
from progeo.training.run import BEST_MODEL

IMAGE_SIZE = 128
BACKBONE = "EfficientNet-Lite0"
Recalls = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Training:
    """A set to train on, the one to choose the best epoch by, and how to cut it into classes."""

    train_set: str
    val_set: str
    M: int
    N: int
    groups_num: int
    min_images_per_class: int


TRAININGS = {
    "ie_tower_indoor": Training("ie_tower_indoor/database", "ie_tower_indoor", 50, 2, 2, 4),
    "gsv_windows": Training("gsv_windows", "gsv_manila_hyderabad", 50, 2, 2, 5),
}


def make_options(training: Training, datasets: Path, out: Path, seed: int) -> TrainOptions:
    """Return the options of a training; sets of windows are made below ``out``."""
    train_set = datasets / training.train_set
    if training.train_set == "gsv_windows":
        train_set = out / training.train_set
        if not train_set.is_dir():
            subprocess.run([sys.executable, str(datasets / "make_gsv_windows.py"), str(train_set)], check=True)
    return TrainOptions(
        train_set_folder=str(train_set),
        val_set_folder=str(datasets / training.val_set),
        test_set_folder=str(datasets / training.val_set),
        backbone=BACKBONE,
        M=training.M,
        alpha=360,
        N=training.N,
        L=1,
        groups_num=training.groups_num,
        min_images_per_class=training.min_images_per_class,
        image_size=IMAGE_SIZE,
        resize_test_imgs=True,
        # Few photos and few steps: a larger rate, and colours that change less, as in the demo.
        lr=1e-3,
        brightness=0.5,
        contrast=0.5,
        saturation=0.5,
        hue=0.05,
        epochs_num=4,
        iterations_per_epoch=100,
        seed=seed,
        cache_folder=str(out / "cache"),
    )


def measure(network: PlaceNetwork, sets: list[str], datasets: Path, options: TrainOptions) -> Recalls:
    """Return R@1 and R@5 in percent on each set."""
    recalls = {}
    for name in sets:
        evaluation_set = read_evaluation_set(datasets / name, cache_folder=options.cache_folder)
        device = str(choose_device(options.device))
        result = evaluate(network, evaluation_set, device=device, num_workers=options.num_workers, description=name)
        recalls[name] = {f"R@{rank}": result.recalls[rank] for rank in (1, 5)}
    return recalls


def measure_once(path: Path, work: Callable[[], Recalls]) -> Recalls:
    """Return what ``work`` measures, or what an earlier start of this script has measured."""
    if not path.is_file():
        path.write_text(json.dumps(work(), indent=2))
    content: Recalls = json.loads(path.read_text())
    return content


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path)
    parser.add_argument("--out", type=Path, default=Path("logs/real_photos"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    datasets, out = arguments.datasets, arguments.out
    out.mkdir(parents=True, exist_ok=True)
    sets = sorted(path.parent.name for path in datasets.glob("*/queries"))

    results: dict[str, list[Recalls]] = {"before training": [], **{name: [] for name in TRAININGS}}
    for seed in arguments.seeds:

        def describe_untrained(seed: int = seed) -> Recalls:
            options = make_options(TRAININGS["ie_tower_indoor"], datasets, out, seed)
            network = create_model(BACKBONE, descriptor_dim=options.fc_output_dim, seed=derive_seed(seed))
            network.set_image_size(IMAGE_SIZE)
            return measure(network, sets, datasets, options)

        results["before training"].append(measure_once(out / f"before_{seed}.json", describe_untrained))
        for name, training in TRAININGS.items():

            def train(name: str = name, training: Training = training, seed: int = seed) -> Recalls:
                folder = out / f"{name}_{seed}"
                folder.mkdir(exist_ok=True)
                options = make_options(training, datasets, out, seed)
                if not (folder / BEST_MODEL).is_file():
                    run_training(options, folder)
                return measure(load_network(str(folder / BEST_MODEL)), sets, datasets, options)

            results[name].append(measure_once(out / f"{name}_{seed}.json", train))

    rows = []
    for name in sets:
        row = [name]
        for trained, recalls in results.items():
            values = [recall[name]["R@1"] for recall in recalls]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            own = trained in TRAININGS and TRAININGS[trained].val_set == name
            row.append(f"{statistics.mean(values):.1f} ± {spread:.1f}{' *' if own else ''}")
        rows.append(row)
    header = [
        "R@1 in percent on",
        *("before training" if t == "before training" else f"trained on {t}" for t in results),
    ]
    write_table("real photos", header, rows)


if __name__ == "__main__":
    main()
