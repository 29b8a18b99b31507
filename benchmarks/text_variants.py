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
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.tables import write_table
from benchmarks.text_targets import compare, describe
from progeo.cli.demo import BACKBONE, CITY, IMAGE_SIZE, TRAINING
from progeo.models.backbones.create import create_image_text_model, find_backbone
from progeo.models.backbones.lite_clip import LiteCLIP
from progeo.training import Run, register_method, train
from progeo.training.losses import CosFaceClassifier
from progeo.training.methods.cosplace import CosPlace
from progeo.training.methods.progeo import ProGEO, Targets, TextPhase
from progeo.training.methods.prompt_file import PROMPTS
from progeo_toy_city import CitySizes, make_toy_city

VALIDATION_SEED = 77
VALIDATION_CITY = CITY | {"train_places": 2, "train_dates": 2, "val_queries": 500, "val_places": 60}
LENGTH = 10.0


@dataclass(frozen=True)
class Variant:
    """A way to use texts.

    Attributes:
        description: what the table says.
        options: options of the training that differ from the demo's.
        change: what becomes of the text targets.
        prepare: what becomes of the phase before the first step.
        has_loss: whether there is a text loss.
    """

    description: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    change: Callable[[Targets], Targets] = list
    prepare: Callable[[TextPhase], None] = lambda phase: None
    has_loss: bool = True


def center(targets: Targets) -> Targets:
    """What all texts of a group share says nothing of a class; without it, and of one length, they are far apart."""
    return [LENGTH * F.normalize(target.float() - target.float().mean(dim=0)) for target in targets]


@torch.no_grad()
def start_classifiers(phase: TextPhase) -> None:
    """Give each classifier the directions of its texts, at the lengths that random weights have."""
    for classifier, target in zip(phase.classifiers, center(phase.targets), strict=True):
        assert isinstance(classifier, CosFaceClassifier)
        length = classifier.weight.norm(dim=1).mean()
        classifier.weight.copy_(length * F.normalize(target.to(length.device)))


@torch.no_grad()
def start_head(phase: TextPhase) -> None:
    """Let descriptors start from LiteCLIP's own projection, in whose space texts are."""
    model = create_image_text_model(find_backbone(BACKBONE))
    assert isinstance(model, LiteCLIP)
    (head,) = (module for module in phase.network.aggregation.modules() if isinstance(module, torch.nn.Linear))
    head.weight.copy_(model.projection.weight)
    head.bias.zero_()


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


class VariantPhase(TextPhase):
    """Stage 2 in a variant."""

    def __init__(self, run: Run, targets: Targets, variant: Variant) -> None:
        super().__init__(run, variant.change(targets))
        self.variant = variant
        variant.prepare(self)

    def compute_losses(self, descriptors: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        if self.variant.has_loss:
            return super().compute_losses(descriptors, labels)
        return CosPlace.compute_losses(self, descriptors, labels)


@register_method("text_variant")
class VariantMethod(ProGEO):
    """ProGEO in the variant that ``method_arguments`` name."""

    def __init__(self, settings: Any, name: str) -> None:
        super().__init__(settings)
        self.phase = partial(VariantPhase, variant=VARIANTS[name])  # type: ignore[assignment]


def measure(name: str, seed: int, out: Path) -> float:
    """Train one variant with one seed; return R@1 on the validation set after the last epoch, in percent."""
    settings = {"image_size": IMAGE_SIZE, **TRAINING, **VARIANTS[name].options}
    folder, prompts = out / f"{name}_{seed}", out / f"prompts_{seed}" / PROMPTS
    if name == "none":
        settings["method"] = "cosplace"
    else:
        settings |= {"method": "text_variant", "method_arguments": {"name": name}}
        settings["cache_feature_folder"] = str(out / "features")
        # Prompts of one template and seed are learned once.
        if prompts.is_file() and not {"prompt_template", "text_targets"} & VARIANTS[name].options.keys():
            settings["prompts"] = str(prompts)
    city, validation = out / "city" / "train", out / "validation" / "val"
    result = train(BACKBONE, city, val=validation, folder=folder, seed=seed, **settings)
    return result.history[-1]["validation_R@1"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("logs/text_variants"))
    arguments = parser.parse_args()
    make_toy_city(arguments.out / "city", sizes=CitySizes(**CITY), show_progress=True)
    make_toy_city(
        arguments.out / "validation", seed=VALIDATION_SEED, sizes=CitySizes(**VALIDATION_CITY), show_progress=True
    )
    results = arguments.out / "results"
    results.mkdir(exist_ok=True)
    recalls: dict[str, list[float]] = {name: [] for name in arguments.variants}
    for seed in arguments.seeds:
        for name in arguments.variants:
            result = results / f"{name}_{seed}.json"
            if not result.is_file():
                result.write_text(json.dumps(measure(name, seed, arguments.out)), encoding="utf-8")
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
