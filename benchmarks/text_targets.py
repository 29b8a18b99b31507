"""What do learned prompts contribute? The same training with several kinds of text targets, several seeds each.

    python -m benchmarks.text_targets [--datasets DATASETS] [--sets toy_city ...] [--seeds 0 1 2 3 4] [--budget 5]

All kinds have the same backbone, steps and seeds. Each finished run is kept in the output folder, so that the script
can be stopped, started again, and spread over days. ``relearned`` learns the prompts anew in the middle of stage 2,
from the descriptors of the network as it is then; ``alternated`` does so twice, after each third.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
from pathlib import Path
from typing import Any

from scipy.stats import ttest_rel

from benchmarks.real_photos import TRAININGS, make_options
from benchmarks.tables import write_table
from progeo.cli.demo import BACKBONE, CITY, IMAGE_SIZE, TRAINING
from progeo.cli.eval import EvalOptions
from progeo.cli.eval import run as run_evaluation
from progeo.cli.train import TrainOptions
from progeo.cli.train import run as run_training
from progeo.files import CONFIG, RESULTS
from progeo.models.encoder import Encoder
from progeo.training.method import Run, register_method
from progeo.training.methods.progeo import ProGEO
from progeo.training.methods.prompt_file import PROMPTS
from progeo.training.run import BEST_MODEL
from progeo_toy_city import CitySizes, make_toy_city

ROUNDS = {"relearned": 2, "alternated": 3}
KINDS = ("none", "prompts", "shuffled", "class_mean", *ROUNDS)
TOY_CITY = "toy_city"
STAGE1 = {name: value for name, value in TRAINING.items() if name.endswith("_stage1")}
"""Prompts are learned from as few photos in all sets, so with the same settings."""


def make_set_options(name: str, datasets: Path | None, out: Path, seed: int, budget: int, head: str) -> TrainOptions:
    """Return the options of a training set without text targets, with ``budget`` times the usual steps."""
    options = make_usual_options(name, datasets, out, seed)
    return dataclasses.replace(options, head=head, iterations_per_epoch=budget * options.iterations_per_epoch)


def make_usual_options(name: str, datasets: Path | None, out: Path, seed: int) -> TrainOptions:
    """Return the options of a training set, with the usual steps."""
    if name == TOY_CITY:
        city = out / TOY_CITY
        make_toy_city(city, sizes=CitySizes(**CITY), show_progress=True)
        folders: dict[str, Any] = {f"{part}_set_folder": str(city / part) for part in ("train", "val", "test")}
        return TrainOptions(
            **folders,
            **TRAINING,
            image_size=IMAGE_SIZE,
            resize_test_imgs=True,
            seed=seed,
            cache_folder=str(out / "cache"),
        )
    if datasets is None:
        raise SystemExit(f"{name} needs --datasets")
    return dataclasses.replace(make_options(TRAININGS[name], datasets, out, seed), **STAGE1)


@register_method("relearned")
class Relearned(ProGEO):
    """ProGEO whose prompts are learned from the descriptors of the network that stage 2 starts from."""

    def image_encoder(self, run: Run) -> tuple[Encoder, str]:
        """Return that network, and its fingerprint."""
        encoder = Encoder.create(run.network.eval(), device=str(run.device), num_workers=run.settings.num_workers)
        return encoder, encoder.fingerprint


def run_rounds(name: str, kind: str, options: TrainOptions, out: Path) -> float:
    """Train and test one kind that learns prompts in several rounds; each goes on from the best model of the last."""
    last = None
    for number in range(ROUNDS[kind]):
        folder = out / name / f"{kind}_{options.seed}" / f"round_{number}"
        if not (folder / RESULTS).is_file():
            folder.mkdir(parents=True, exist_ok=True)
            settings: dict[str, Any] = {"backbone": BACKBONE, "fc_output_dim": None}
            if last is None:
                settings["cache_feature_folder"] = str(out / name)
            else:
                settings = {"resume_model": str(last / BEST_MODEL), "method": "relearned"}
            resume = str(folder) if (folder / CONFIG).is_file() else None
            steps = options.iterations_per_epoch // ROUNDS[kind]
            run_training(
                dataclasses.replace(options, **settings, iterations_per_epoch=steps, resume_train=resume), folder
            )
        last = folder
    assert last is not None
    return read_recall(last)


def run_kind(name: str, kind: str, options: TrainOptions, out: Path) -> float:
    """Train and test one kind with one seed, unless that is done; return the test's R@1 in percent."""
    if kind in ROUNDS:
        return run_rounds(name, kind, options, out)
    folder = out / name / f"{kind}_{options.seed}"
    if not (folder / RESULTS).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        options.backbone = BACKBONE
        options.fc_output_dim = None
        options.text_targets = kind
        options.cache_feature_folder = str(out / name)
        options.resume_train = str(folder) if (folder / CONFIG).is_file() else None
        prompts = out / name / f"prompts_{options.seed}" / PROMPTS
        if kind == "shuffled" and prompts.is_file():
            options.prompts = str(prompts)  # the same prompts as those of the unshuffled run
        run_training(options, folder)
    return read_recall(folder)


def run_untrained(name: str, options: TrainOptions, out: Path) -> float:
    """Test the backbone untrained, with the random head of this seed."""
    folder = out / name / f"untrained_{options.seed}"
    if not (folder / RESULTS).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        kept = ("image_size", "resize_test_imgs", "test_set_folder", "cache_folder", "seed")
        settings: dict[str, Any] = {key: getattr(options, key) for key in kept}
        run_evaluation(EvalOptions(**settings, backbone=BACKBONE), folder)
    return read_recall(folder)


def read_recall(folder: Path) -> float:
    return float(json.loads((folder / RESULTS).read_text(encoding="utf-8"))["recalls"]["R@1"])


def describe(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def compare(values: list[float], baseline: list[float]) -> str:
    """The mean difference to the baseline, seed by seed, and the p-value of a paired t-test."""
    differences = [value - other for value, other in zip(values, baseline, strict=False)]
    if len(differences) < 2:
        return f"{differences[0]:+.1f}" if differences else "-"
    p = float(ttest_rel(values[: len(differences)], baseline[: len(differences)]).pvalue)
    return f"{statistics.mean(differences):+.1f} ({'p < 0.01' if p < 0.005 else f'p = {p:.2f}'})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path)
    parser.add_argument("--sets", nargs="+", default=[TOY_CITY], choices=[TOY_CITY, *TRAININGS])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--budget", type=int, default=1, help="times the demo's steps an epoch")
    parser.add_argument("--head", default="gem")
    parser.add_argument("--out", type=Path, default=Path("logs/text_targets"))
    arguments = parser.parse_args()
    common = (arguments.budget, arguments.head)
    suffix = "" if common == (1, "gem") else f", {arguments.budget} times the steps, head {arguments.head}"
    out = arguments.out / f"{arguments.head}_{arguments.budget}" if suffix else arguments.out
    for name in arguments.sets:
        rows = []
        recalls: dict[str, list[float]] = {kind: [] for kind in ("untrained", *arguments.kinds)}
        for seed in arguments.seeds:
            options = make_set_options(name, arguments.datasets, arguments.out, seed, *common)
            recalls["untrained"].append(run_untrained(name, options, out))
            for kind in arguments.kinds:
                options = make_set_options(name, arguments.datasets, arguments.out, seed, *common)
                recalls[kind].append(run_kind(name, kind, options, out))
        for kind, values in recalls.items():
            against_none = compare(values, recalls["none"]) if kind not in ("none", "untrained") else ""
            gain = compare(values, recalls["untrained"]) if kind != "untrained" else ""
            rows.append([kind, str(len(values)), describe(values), gain, against_none])
        header = [name, "seeds", "test R@1", "against untrained", "against none (CosPlace)"]
        write_table(f"text targets, {name}{suffix}", header, rows)


if __name__ == "__main__":
    main()
