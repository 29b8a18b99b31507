"""``progeo eval``: one model on a test set, or several compared."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from progeo.cli.eval import EvalOptions
from progeo.cli.options import list_repeated, save_options
from progeo.console import console, log_to, logger
from progeo.devices import choose_device, derive_seed
from progeo.errors import ProgeoError
from progeo.evaluation.comparison import bootstrap_difference, draw_comparison, format_markdown
from progeo.evaluation.evaluate import evaluate, save_results
from progeo.evaluation.evaluation_set import EvaluationSet, read_evaluation_set
from progeo.evaluation.grouping import group_queries
from progeo.evaluation.metrics import measure
from progeo.evaluation.protocols import find_protocol
from progeo.evaluation.recall import PUBLISHED_RULE, Evaluation
from progeo.files import CONFIG, RESULTS, atomic_write, create_run_folder, write_json
from progeo.models.fingerprint import fingerprint_model
from progeo.models.network import PlaceNetwork, create_network
from progeo.models.published import load_model
from progeo.search.store import DescriptorFolder

BYTES_PER_NUMBER = 4
"""Descriptors are searched in single precision."""


@dataclass(frozen=True)
class Candidate:
    """A model to evaluate, and at which size it takes photos."""

    name: str
    network: PlaceNetwork
    resize: bool

    @property
    def size(self) -> str:
        """The size of photos as people read it."""
        preprocessing = self.network.preprocessing
        if not self.resize:
            return "native size"
        side = preprocessing.image_size
        return f"{side} x {side} px" if preprocessing.square else f"shorter side {side} px"


def run_evaluation(options: EvalOptions, folder: Path | None = None) -> dict[str, Any]:
    """Run ``progeo eval``: evaluate the models that the options name, write the results into a run folder, return them.

    The results go to a new folder below ``logs`` unless ``folder``, which exists, is given; of several models, each has
    a folder of its own in it, and the comparison stands beside them.
    """
    device = choose_device(options.device)
    evaluation_set = _read_set(options)
    groups = group_queries(evaluation_set.queries, options.group_by) if options.group_by else {}
    candidates = _load_candidates(options, device)

    folder = folder or create_run_folder(options.save_dir)
    log_to(folder)
    save_options(options, folder / CONFIG)
    _describe_set(evaluation_set)

    results, evaluations = [], []
    for number, candidate in enumerate(candidates, start=1):
        own_folder = folder if len(candidates) == 1 else folder / f"{number}_{_to_file_name(candidate.name)}"
        own_folder.mkdir(exist_ok=True)
        differences = [*evaluation_set.differences, *_find_resizing(candidate, evaluation_set)]
        evaluation = _evaluate(candidate, evaluation_set, options, device)
        measurements = measure(
            evaluation, radii=options.radii or (), group_by=options.group_by, groups=groups, seed=options.seed
        )
        logger.info(evaluation.describe())
        logger.info(measurements.describe_intervals())
        evaluations.append(evaluation)
        results.append(
            save_results(
                evaluation,
                dataclasses.replace(evaluation_set, differences=differences),
                options,
                own_folder,
                title=f"{candidate.network.backbone_name} on {Path(options.test_set_folder).resolve().name}",
                settings=_list_settings(candidate, evaluation_set, options),
                measurements=measurements,
                report=options.report,
            )
        )
    content = results[0] if len(results) == 1 else _compare(results, evaluations, evaluation_set, options, folder)
    logger.info(f"Results are in {folder}")
    if options.json:
        json.dump(content, sys.stdout)
        sys.stdout.write("\n")
    return content


def _read_set(options: EvalOptions) -> EvaluationSet:
    """Read the test set, and check what the options ask of it against its protocol."""
    protocol = find_protocol(options.protocol) if options.protocol else None
    if protocol and options.positive_dist_threshold != PUBLISHED_RULE.limit:
        raise ProgeoError(
            f"`protocol` {protocol.name} fixes what is right: {protocol.rule}. Leave out `positive_dist_threshold`; "
            "`radii` gives recalls at further distances."
        )
    if options.radii and protocol and not protocol.rule.is_metric:
        raise ProgeoError(
            f"`radii` are metres, but by `protocol` {protocol.name} a prediction is right {protocol.rule}. Leave "
            "`radii` out."
        )
    return read_evaluation_set(
        options.test_set_folder,
        queries_folder=options.queries_folder,
        cache_folder=options.cache_folder,
        columns=options.columns,
        protocol=protocol,
    )


def _load_candidates(options: EvalOptions, device: torch.device) -> list[Candidate]:
    """Load all models before the first is evaluated, so that a missing one does not stop the work of hours."""
    names = list_repeated(options.resume_model)
    if len(names) > 1 and (options.backbone or options.fc_output_dim):
        raise ProgeoError(
            "`backbone` and `fc_output_dim` say what one published .pth file is. Evaluate that one alone, or compare "
            "model files of progeo and published models."
        )
    if not names:
        logger.warning("No `resume_model` is given: evaluating the untrained backbone, as a baseline")
        torch.manual_seed(derive_seed(options.seed))
        if options.backbone_weights == "none":
            logger.warning("`backbone_weights` none: the backbone is random, and so the results mean nothing")
        network = create_network(
            options.backbone or "ResNet18", options.fc_output_dim, weights=options.backbone_weights
        )
        return [_create_candidate(f"{network.backbone_name} untrained", network, options)]
    return [
        _create_candidate(
            name,
            load_model(
                name,
                backbone=options.backbone,
                fc_output_dim=options.fc_output_dim,
                trust_remote_code=options.trust_remote_code,
                device=device,
            ),
            options,
        )
        for name in names
    ]


def _create_candidate(name: str, network: PlaceNetwork, options: EvalOptions) -> Candidate:
    """Decide at which size a model takes photos: as asked for, else as it was validated, else native."""
    if network.preprocessing.square:
        if options.image_size or options.resize_test_imgs is False:
            side = network.preprocessing.image_size
            raise ProgeoError(
                f"{name} takes photos of {side} x {side} px only. Leave out `image_size` and `resize_test_imgs` false."
            )
        return Candidate(name, network, resize=True)
    if options.image_size:
        network.preprocessing = dataclasses.replace(network.preprocessing, image_size=options.image_size)
    resize = options.resize_test_imgs
    if resize is None:
        resize = bool(options.image_size or network.card.get("training", {}).get("resize_test_imgs"))
    return Candidate(name, network, resize)


def _describe_set(evaluation_set: EvaluationSet) -> None:
    """Say what is about to be evaluated, and where it is not what its protocol fixes."""
    protocol = evaluation_set.protocol
    logger.info(f"{len(evaluation_set.database)} database images and {len(evaluation_set.queries)} queries")
    if protocol:
        logger.info(f"Protocol {protocol.name}: {protocol.description}; right {protocol.rule}; {protocol.source}")
    for difference in evaluation_set.differences:
        logger.warning(f"Not the official protocol: {difference}")


def _find_resizing(candidate: Candidate, evaluation_set: EvaluationSet) -> list[str]:
    """Return, and say, how the size at which a model takes photos differs from what the protocol fixes."""
    if not (evaluation_set.protocol and candidate.resize):
        return []
    difference = f"photos resized ({candidate.size}) instead of as the set has them"
    logger.warning(f"Not the official protocol: {candidate.name} takes {difference}")
    return [difference]


def _evaluate(
    candidate: Candidate, evaluation_set: EvaluationSet, options: EvalOptions, device: torch.device
) -> Evaluation:
    network = candidate.network
    logger.info(
        f"Evaluating {candidate.name}: {network.backbone_name}, {network.fc_output_dim} dimensions, on {device}, "
        f"{candidate.size}"
    )
    if network.card.get("batch_dependent"):
        logger.warning(
            f"{candidate.name} describes a photo by the others in its batch too: its results depend on "
            f"`infer_batch_size` ({options.infer_batch_size}) and on the order of the photos"
        )
    descriptor_folder = _open_descriptor_folder(candidate, evaluation_set, options)
    try:
        evaluation = evaluate(
            network.to(device),
            evaluation_set,
            options,
            device=device,
            resize=candidate.resize,
            num_workers=options.num_workers,
            description="Describing",
            descriptor_folder=descriptor_folder,
        )
    except KeyboardInterrupt:
        if descriptor_folder:
            logger.info(f"Finished chunks are kept in {descriptor_folder.folder}: the same command goes on from there")
        raise
    network.cpu()
    if descriptor_folder and (descriptor_folder.reused or descriptor_folder.replaced):
        logger.info(
            f"Chunks taken from {descriptor_folder.folder}: {descriptor_folder.reused}; stale or damaged ones made "
            f"anew: {descriptor_folder.replaced}"
        )
    if evaluation.queries_without_positives:
        logger.info(
            f"{evaluation.queries_without_positives} of {len(evaluation_set.queries)} queries have no database image "
            f"{evaluation.rule} and count as missed"
        )
    return evaluation


def _open_descriptor_folder(
    candidate: Candidate, evaluation_set: EvaluationSet, options: EvalOptions
) -> DescriptorFolder | None:
    """Return the folder for this model's descriptors of this set, below the one that the options name."""
    if not options.descriptors_folder:
        return None
    place = Path(evaluation_set.folder).resolve()
    key = hashlib.sha256(str(place).encode()).hexdigest()[:8]
    queries_shorter_side = evaluation_set.protocol.queries_shorter_side if evaluation_set.protocol else None
    return DescriptorFolder(
        Path(options.descriptors_folder) / f"{_to_file_name(place.name)}-{key}" / _to_file_name(candidate.name),
        fingerprint_model(
            candidate.network,
            name=candidate.network.backbone_name,
            preprocessing=candidate.network.preprocessing,
            resize=candidate.resize,
            queries_shorter_side=queries_shorter_side,
        ),
        candidate.network.fc_output_dim,
    )


def _list_settings(candidate: Candidate, evaluation_set: EvaluationSet, options: EvalOptions) -> dict[str, Any]:
    network = candidate.network
    return {
        "model": candidate.name,
        "backbone": network.backbone_name,
        "fc_output_dim": network.fc_output_dim,
        "test_set_folder": options.test_set_folder,
        "image_size": network.preprocessing.image_size if candidate.resize else "native",
        "batch_dependent": bool(network.card.get("batch_dependent")),
        "database_memory_bytes": len(evaluation_set.database) * network.fc_output_dim * BYTES_PER_NUMBER,
    }


def _compare(
    results: list[dict[str, Any]],
    evaluations: list[Evaluation],
    evaluation_set: EvaluationSet,
    options: EvalOptions,
    folder: Path,
) -> dict[str, Any]:
    """Print the comparison, write it beside the results of each model, and return it."""
    for number, (result, evaluation) in enumerate(zip(results, evaluations, strict=True)):
        difference, interval = bootstrap_difference(evaluations[0], evaluation, options.seed)
        result["difference_from_first"] = {"R@1": difference, "interval": list(interval)} if number else None
    protocol = f", protocol {evaluation_set.protocol.name}" if evaluation_set.protocol else ""
    title = (
        f"{Path(options.test_set_folder).resolve().name}{protocol}: {len(evaluation_set.queries):,} queries, "
        f"{len(evaluation_set.database):,} database images"
    )
    console.print(draw_comparison(results, title))
    with atomic_write(folder / "comparison.md") as temporary:
        temporary.write_text(format_markdown(results, title), encoding="utf-8")
    content = {"test_set_folder": options.test_set_folder, "models": results}
    write_json(folder / RESULTS, content)
    return content


def _to_file_name(text: str) -> str:
    """Return a text with nothing in it that a file name cannot have."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._") or "_"
