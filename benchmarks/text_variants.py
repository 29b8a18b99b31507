"""Other ways to use the texts of learned prompts, compared on a validation set: does one of them help?

    python -m benchmarks.text_variants [--variants none prompts ...] [--seeds 0 1 2]

LiteCLIP on the city of the demo with its settings, and 500 queries of another district, so that test sets stay unseen.
Each finished training is kept in the output folder, so that the script can be stopped, and spread over days.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.tables import write_table
from benchmarks.text_targets import compare, describe
from progeo.cli.demo import BACKBONE, CITY, IMAGE_SIZE, TRAINING
from progeo.cli.train import TrainOptions
from progeo.models.backbones.create import create_image_text_model, find_backbone
from progeo.models.backbones.lite_clip import LiteCLIP
from progeo.models.network import PlaceNetwork
from progeo.training.checkpoint import TrainingState
from progeo.training.encoder import EncoderTraining, create_state
from progeo.training.fabric import create_fabric
from progeo.training.interrupt import delay_interruption
from progeo.training.resolve import resolve_options, uses_text
from progeo.training.run import Inputs, create_run_network, read_inputs
from progeo.training.stage1 import create_model, prepare_text_targets
from progeo.training.stage2 import evaluate_network
from progeo_toy_city import CitySizes, make_toy_city

VALIDATION_SEED = 77
VALIDATION_CITY = dataclasses.replace(CitySizes(**CITY), train_places=2, train_dates=2, val_queries=500, val_places=60)
LENGTH = 10.0

Targets = list[torch.Tensor]


@dataclass(frozen=True)
class Variant:
    """A way to use texts.

    Attributes:
        description: what the table says.
        options: options of the training that differ from the demo's.
        change: what becomes of the text targets.
        prepare: what becomes of the state before the first step.
        has_loss: whether there is a text loss.
    """

    description: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    change: Callable[[Targets], Targets] = list
    prepare: Callable[[TrainingState, Targets], None] = lambda state, targets: None
    has_loss: bool = True


def center(targets: Targets) -> Targets:
    """What all texts of a group share says nothing of a class; without it, and of one length, they are far apart."""
    return [LENGTH * F.normalize(target - target.mean(dim=0)) for target in targets]


@torch.no_grad()
def start_classifiers(state: TrainingState, targets: Targets) -> None:
    """Give each classifier the directions of its texts, at the lengths that random weights have."""
    for classifier, target in zip(state.classifiers, center(targets), strict=True):
        length = classifier.weight.norm(dim=1).mean()
        classifier.weight.copy_(length * F.normalize(target))


@torch.no_grad()
def start_head(state: TrainingState, targets: Targets) -> None:
    """Let descriptors start from LiteCLIP's own projection, in whose space texts are."""
    model = create_image_text_model(find_backbone(BACKBONE))
    assert isinstance(model, LiteCLIP)
    head = find_head(state.network)
    head.weight.copy_(model.projection.weight)
    head.bias.zero_()


def find_head(network: PlaceNetwork) -> torch.nn.Linear:
    (head,) = (module for module in network.aggregation.modules() if isinstance(module, torch.nn.Linear))
    return head


VARIANTS = {
    "none": Variant("no texts (CosPlace)", {"text_targets": "none"}),
    "prompts": Variant("prompts, as published"),
    "weight": Variant("text loss of weight 0.2", {"text_loss_weight": 0.2}),
    "centred": Variant(f"texts centred, of length {LENGTH:g}", change=center),
    "long": Variant("8 learned tokens", {"prompt_template": "A photo of a X X X X X X X X street."}),
    "bare": Variant("learned tokens alone", {"prompt_template": "X X X X"}),
    "head": Variant("head from LiteCLIP's projection", prepare=start_head),
    "start": Variant("classifiers start from texts, no text loss", prepare=start_classifiers, has_loss=False),
    "start_mean": Variant(
        "classifiers start from class means, no text loss",
        {"text_targets": "class_mean"},
        prepare=start_classifiers,
        has_loss=False,
    ),
}


def train(variant: Variant, seed: int, out: Path) -> float:
    """Train one variant with one seed; return R@1 on the validation set after the last epoch, in percent."""
    settings: dict[str, Any] = {"backbone": BACKBONE, "image_size": IMAGE_SIZE, "resize_test_imgs": True, **TRAINING}
    options = resolve_options(
        TrainOptions(
            train_set_folder=str(out / "city" / "train"),
            val_set_folder=str(out / "validation" / "val"),
            test_set_folder=str(out / "validation" / "val"),
            cache_feature_folder=str(out / "features"),
            cache_folder=str(out / "cache"),
            seed=seed,
            **{**settings, **variant.options},
        )
    )
    inputs = read_inputs(options)
    network = create_run_network(options, resumed=False)
    targets = make_targets(options, inputs, out) if uses_text(options) else None
    fabric = create_fabric(inputs.device, options.use_amp16)
    state = create_state(network, inputs.groups, options, fabric)
    if targets:
        targets = variant.change(targets)
        variant.prepare(state, targets)
    texts = targets if variant.has_loss else None
    training = EncoderTraining(state, inputs.table, inputs.groups, options, fabric, texts)
    assert options.epochs_num is not None
    while state.epoch < options.epochs_num:
        with delay_interruption() as interruption:
            training.train_epoch(interruption)
        state.epoch, state.step = state.epoch + 1, 0
    return evaluate_network(network, inputs.validation_set, options, inputs.device, "Validating").recalls[1]


def make_targets(options: TrainOptions, inputs: Inputs, out: Path) -> Targets:
    """Return the text features of all groups; prompts of one template and seed are learned once."""
    words = "".join(letter for letter in options.prompt_template if letter.isalpha())
    folder = out / "texts" / f"{options.text_targets}_{words}_{options.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    model = create_model(options, None, folder, inputs.device)
    targets = prepare_text_targets(options, inputs.table, inputs.groups, folder, inputs.device, model)
    return [target.float() for target in targets]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("logs/text_variants"))
    arguments = parser.parse_args()
    make_toy_city(arguments.out / "city", sizes=CitySizes(**CITY), show_progress=True)
    make_toy_city(arguments.out / "validation", seed=VALIDATION_SEED, sizes=VALIDATION_CITY, show_progress=True)
    results = arguments.out / "results"
    results.mkdir(exist_ok=True)
    recalls: dict[str, list[float]] = {name: [] for name in arguments.variants}
    for seed in arguments.seeds:
        for name in arguments.variants:
            result = results / f"{name}_{seed}.json"
            if not result.is_file():
                result.write_text(json.dumps(train(VARIANTS[name], seed, arguments.out)), encoding="utf-8")
            recalls[name].append(json.loads(result.read_text(encoding="utf-8")))
    rows = [
        [
            VARIANTS[name].description,
            str(len(values)),
            describe(values),
            compare(values, recalls["none"]) if name != "none" and "none" in recalls else "",
        ]
        for name, values in recalls.items()
    ]
    write_table("text variants", ["variant", "seeds", "validation R@1", "against none"], rows)


if __name__ == "__main__":
    main()
