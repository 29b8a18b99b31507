"""``progeo eval``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonargparse.typing import PositiveFloat, PositiveInt

from progeo.cli.options import REQUIRED, InferenceOptions, MachineOptions, PhotoOptions, Repeated, option


@dataclass(kw_only=True)
class EvalOptions(InferenceOptions, PhotoOptions, MachineOptions):
    """Evaluation"""

    test_set_folder: str = option(
        REQUIRED,
        "test set: a folder with database and queries (or queries_v1, queries_v2), or a manifest with a column role",
    )
    protocol: str | None = option(
        None,
        "evaluate by the rules of one of the field's test sets, such as pitts30k-test, tokyo247, msls-val or nordland: "
        "which queries, what is right, how many there must be",
    )
    resume_model: Repeated = option(
        None,
        "the trained model: a file, or a published one such as cosplace:ResNet50:2048 or megaloc; --model is a "
        "synonym. Give it again for further models, which are compared. A file of progeo needs no other option, a "
        "published .pth needs --backbone and --fc_output_dim. Without it the backbone is evaluated untrained",
        names=("--model",),
    )
    trust_remote_code: bool = option(False, "let models of torch.hub run their own code on this machine")
    backbone: str | None = option(
        None, "backbone of a published .pth file, or the one to evaluate untrained (ResNet18 if nothing is given)"
    )
    fc_output_dim: PositiveInt | None = option(
        None,
        "descriptor dimension of a published .pth file, or of the untrained model (without it 512, or that of the "
        "backbone's text tower)",
    )
    backbone_weights: str = option("default", "weights of an untrained backbone, as for training")
    image_size: PositiveInt | None = option(None, "shorter side for --resize_test_imgs; without it the model's own")
    radii: list[PositiveFloat] | None = option(
        None, "further metres within which to count predictions as right, for example --radii 5 10 50"
    )
    group_by: str | None = option(
        None,
        "give recalls by the values of a column of the queries, or by what their timestamps say: day_night, season, "
        "hour, month or year",
    )
    descriptors_folder: str | None = option(
        None,
        "keep descriptors here in half precision, chunk by chunk: for databases larger than memory. The same command "
        "goes on where it was stopped, and takes what is there",
    )
    json: bool = option(False, "print the result as one JSON object, and nothing else, on stdout")
    report: bool = option(True, "write report.html: recall curve, errors, map, worst mistakes")


def run(options: EvalOptions, folder: Path | None = None) -> dict[str, Any]:
    """Run ``progeo eval``."""
    from progeo.evaluation.run import run_evaluation

    return run_evaluation(options, folder)
