"""Evaluating a model on a test set: descriptors, exact search, recalls, pictures, report."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from progeo.cli.options import InferenceOptions
from progeo.devices import collect_versions
from progeo.evaluation.describing import Describer
from progeo.evaluation.evaluation_set import EvaluationSet
from progeo.evaluation.metrics import Measurements, measure
from progeo.evaluation.pictures import save_predictions
from progeo.evaluation.positives import PositiveRule, read_coordinates
from progeo.evaluation.recall import RECALL_RANKS, Evaluation, measure_recalls
from progeo.evaluation.report import write_report
from progeo.files import REPORT, RESULTS, write_json
from progeo.models.network import PlaceNetwork
from progeo.search.exact import search_chunks
from progeo.search.store import DescriptorFolder


def evaluate(
    network: PlaceNetwork,
    evaluation_set: EvaluationSet,
    options: InferenceOptions,
    *,
    device: torch.device,
    resize: bool,
    num_workers: int | None = None,
    description: str | None = None,
    descriptor_folder: DescriptorFolder | None = None,
) -> Evaluation:
    """Describe both halves of the set and measure how well the queries find their places.

    Args:
        network: the model, on ``device``; it is in eval mode afterwards.
        evaluation_set: where to search and what for; its protocol says what is right, or else the options.
        options: batch size, and the metres within which a prediction is right.
        device: where to compute.
        resize: bring photos to the model's image size instead of their native one.
        num_workers: reading threads.
        description: what the progress bars speak of; without it none are shown.
        descriptor_folder: keeps the descriptors on disk, so that the database need not fit into memory.
    """
    network.eval()
    protocol = evaluation_set.protocol
    rule = protocol.rule if protocol else PositiveRule("metres", options.positive_dist_threshold)
    positions = read_coordinates(rule, evaluation_set.database, evaluation_set.queries)
    describer = Describer(
        network.fold(), device, options.infer_batch_size, resize, num_workers, description, folder=descriptor_folder
    )
    shorter_side = protocol.queries_shorter_side if protocol else None
    queries = describer.describe("queries", evaluation_set.queries["path"].to_list(), shorter_side)
    distances, predictions = search_chunks(
        describer.describe("database", evaluation_set.database["path"].to_list()),
        np.concatenate(list(queries)),
        k=max(*RECALL_RANKS, options.num_preds_to_save),
    )
    evaluation = measure_recalls(predictions, *positions, rule, distances)
    return dataclasses.replace(evaluation, descriptors_per_second=describer.descriptors_per_second)


def save_results(
    evaluation: Evaluation,
    evaluation_set: EvaluationSet,
    options: InferenceOptions,
    folder: Path,
    *,
    title: str,
    settings: dict[str, Any],
    measurements: Measurements | None = None,
    report: bool = True,
) -> dict[str, Any]:
    """Write ``results.json``, the pictures that the options ask for, and ``report.html``; return the results.

    ``measurements`` are what ``measure`` gives; without them those that need no options are taken.
    """
    measurements = measurements or measure(evaluation)
    protocol = evaluation_set.protocol
    results = settings | {
        "protocol": protocol.name if protocol else None,
        "protocol_differences": evaluation_set.differences,
        **evaluation.to_dict(),
        **measurements.to_dict(),
        "descriptors_per_second": evaluation.descriptors_per_second,
        "versions": collect_versions(),
    }
    write_json(folder / RESULTS, results)
    if options.num_preds_to_save:
        paths = (evaluation_set.database["path"].to_list(), evaluation_set.queries["path"].to_list())
        save_predictions(
            evaluation, *paths, folder / "preds", options.num_preds_to_save, only_wrong=options.save_only_wrong_preds
        )
    if report:
        write_report(
            evaluation,
            evaluation_set,
            measurements,
            folder / REPORT,
            title=title,
            settings=settings,
        )
    return results
