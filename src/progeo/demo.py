"""The main job on an embedded default: toy city, training, evaluation before and after. Works offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.table import Table

from progeo.config import DemoOptions, EvalOptions, TrainOptions
from progeo.console import console
from progeo.evaluation.run import run_evaluation
from progeo.images.toy_city import make_toy_city
from progeo.run_folder import RESULTS
from progeo.training.checkpoint import LAST_CHECKPOINT
from progeo.training.run import BEST_MODEL, run_training

BACKBONE = "EfficientNet-Lite0"
IMAGE_SIZE = 160


def run_demo(options: DemoOptions) -> None:
    """Run ``progeo demo``: everything goes below ``options.folder``; what an interrupted demo has done is kept."""
    folder = Path(options.folder)
    city, before_folder, training_folder = folder / "toy_city", folder / "before", folder / "training"
    for path in (before_folder, training_folder):
        path.mkdir(parents=True, exist_ok=True)
    common: dict[str, Any] = {
        "backbone": BACKBONE,
        "image_size": IMAGE_SIZE,
        "resize_test_imgs": True,
        "num_preds_to_save": 3,
        "test_set_folder": str(city / "test"),
        "cache_folder": str(folder / "cache"),
        "seed": options.seed,
    }

    console.rule("1/3  A town to train on")
    make_toy_city(city, seed=options.seed, show_progress=True)

    console.rule(f"2/3  {BACKBONE} as ImageNet left it, before it has learned any place")
    before = _read_results(before_folder) or run_evaluation(EvalOptions(**common), before_folder)

    console.rule("3/3  Training with CosPlace, and the test afterwards")
    started = (training_folder / LAST_CHECKPOINT).is_file()
    train_options = TrainOptions(
        **common,
        train_set_folder=str(city / "train"),
        val_set_folder=str(city / "val"),
        # Small classifiers and few steps ask for larger rates than a day of training on a whole city.
        N=2,
        groups_num=4,
        lr=0.0003,
        epochs_num=4,
        iterations_per_epoch=60,
        resume_train=str(training_folder) if started else None,
    )
    after = _read_results(training_folder) or run_training(train_options, training_folder)
    _print_summary(before, after, city, before_folder, training_folder)


def _read_results(folder: Path) -> dict[str, Any] | None:
    """Return the results that an earlier start of the demo left, if any."""
    path = folder / RESULTS
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _print_summary(
    before: dict[str, Any], after: dict[str, Any], city: Path, before_folder: Path, training_folder: Path
) -> None:
    """Say what came out, where to look, and what to try next."""
    table = Table(title="Queries whose place is found, on streets that were not trained on")
    table.add_column("")
    for rank in after["recalls"]:
        table.add_column(rank, justify="right")
    for name, results in (("before training", before), ("after training", after)):
        table.add_row(name, *(f"{recall:.1f} %" for recall in results["recalls"].values()))
    console.print(table)
    model = training_folder / BEST_MODEL
    console.print(
        "\nWhere to look:\n"
        f"  {training_folder / 'report.html'}   recall, map and worst mistakes, in the browser\n"
        f"  {training_folder / 'preds'}   queries with their first predictions\n"
        f"  {before_folder / 'report.html'}   the same before training\n"
        f"  {city / 'train'}   the photos\n"
        "What to try next:\n"
        f"  progeo eval --model {model} --test_set_folder {city / 'val'}\n"
        "  progeo train --help   to train on photos of your own: docs/your-photos.md",
        markup=False,
        soft_wrap=True,
    )
