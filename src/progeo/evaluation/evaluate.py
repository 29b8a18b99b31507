"""Evaluating a model on a test set: descriptors, exact search, recalls, pictures, report."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from progeo.config import EvalOptions, InferenceOptions, save_options
from progeo.descriptors import extract_descriptors
from progeo.devices import choose_device
from progeo.errors import ProgeoError
from progeo.evaluation.pictures import save_predictions
from progeo.evaluation.recall import RECALL_RANKS, Evaluation, measure_recalls, search
from progeo.evaluation.report import write_report
from progeo.images.positions import match_zone
from progeo.images.sampling import derive_seed
from progeo.images.table import find_manifest, read_image_table
from progeo.models.network import PlaceNetwork, create_network
from progeo.models.zoo import load_model
from progeo.run_folder import CONFIG, REPORT, RESULTS, create_run_folder, log_to, logger, write_json

QUERIES_FOLDERS = ("queries", "queries_v1", "queries_v2")


@dataclass(frozen=True)
class EvaluationSet:
    """Photos to search in and photos to look for, as image tables."""

    folder: str
    database: pl.DataFrame
    queries: pl.DataFrame


def read_evaluation_set(
    source: str | Path,
    *,
    queries_folder: str | None = None,
    cache_folder: str | Path = "cache",
    columns: str | None = None,
    split: str = "test",
) -> EvaluationSet:
    """Read a folder with ``database`` and ``queries`` (else ``queries_v1``, ``queries_v2``, or the one named).

    In place of a folder it can be a manifest whose column ``role`` says which photos are which; ``split`` is taken of
    it where it has splits, and ``columns`` says how its columns are called (see ``read_image_table``).

    Raises:
        ProgeoError: one of the two parts is missing or has no photos, or photos have no position.
    """
    folder = Path(source)
    candidates = (queries_folder,) if queries_folder else QUERIES_FOLDERS
    if find_manifest(folder):
        table = read_image_table(folder, cache_folder, columns=columns, split=split)
        return EvaluationSet(str(folder), *_take_roles(table, folder, candidates))
    queries = next((name for name in candidates if (folder / name).is_dir()), None)
    if queries is None or not (folder / "database").is_dir():
        found = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir())) or "no folder"
        raise ProgeoError(
            f"{folder} must hold the folders database and {' or '.join(candidates)}; it holds {found}. "
            "Another name of the queries can be given as --queries_folder NAME."
        )
    database_table, queries_table = (
        read_image_table(folder / part, cache_folder, columns=columns) for part in ("database", queries)
    )
    return EvaluationSet(str(folder), database_table, match_zone(queries_table, database_table))


def _take_roles(table: pl.DataFrame, source: Path, candidates: tuple[str, ...]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the database and the queries of one table."""
    roles = set(table["role"]) if "role" in table.columns else set()
    queries = next((name for name in candidates if name in roles), None)
    if queries is None or "database" not in roles:
        found = f"it says {', '.join(sorted(map(str, roles)))}" if roles else "there is no such column"
        raise ProgeoError(
            f"{source} must say in a column role which photos are database and which are "
            f"{' or '.join(candidates)}; {found}. A folder with database and queries does as well."
        )
    return table.filter(pl.col("role") == "database"), table.filter(pl.col("role") == queries)


def evaluate(
    network: PlaceNetwork,
    evaluation_set: EvaluationSet,
    options: InferenceOptions,
    *,
    device: torch.device,
    resize: bool,
    num_workers: int | None = None,
    description: str | None = None,
) -> Evaluation:
    """Describe both halves of the set and measure how well the queries find their places.

    Args:
        network: the model, on ``device``; it is in eval mode afterwards.
        evaluation_set: where to search and what for.
        options: batch size, and the metres within which a prediction is right.
        device: where to compute.
        resize: bring photos to the model's image size instead of their native one.
        num_workers: reading threads.
        description: what the progress bars speak of; without it none are shown.
    """
    network.eval()

    def describe(table: pl.DataFrame, part: str) -> npt.NDArray[np.float32]:
        return extract_descriptors(
            network,
            table["path"].to_list(),
            device=device,
            batch_size=options.infer_batch_size,
            resize=resize,
            num_workers=num_workers,
            description=f"{description}, {part}" if description else None,
        )

    distances, predictions = search(
        describe(evaluation_set.database, "database"),
        describe(evaluation_set.queries, "queries"),
        k=max(*RECALL_RANKS, options.num_preds_to_save),
    )
    return measure_recalls(
        predictions,
        evaluation_set.database.select("utm_east", "utm_north").to_numpy(),
        evaluation_set.queries.select("utm_east", "utm_north").to_numpy(),
        options.positive_dist_threshold,
        distances,
    )


def save_results(
    evaluation: Evaluation,
    evaluation_set: EvaluationSet,
    options: InferenceOptions,
    folder: Path,
    *,
    title: str,
    settings: dict[str, Any],
    report: bool = True,
) -> dict[str, Any]:
    """Write ``results.json``, the pictures that the options ask for, and ``report.html``; return the results."""
    results = settings | evaluation.to_dict()
    write_json(folder / RESULTS, results)
    if options.num_preds_to_save:
        paths = (evaluation_set.database["path"].to_list(), evaluation_set.queries["path"].to_list())
        save_predictions(
            evaluation, *paths, folder / "preds", options.num_preds_to_save, only_wrong=options.save_only_wrong_preds
        )
    if report:
        write_report(
            evaluation,
            evaluation_set.database,
            evaluation_set.queries,
            folder / REPORT,
            title=title,
            settings=settings,
        )
    return results


def run_evaluation(options: EvalOptions, folder: Path | None = None) -> dict[str, Any]:
    """Run ``progeo eval``: load the model, evaluate it, write the results into a run folder, and return them.

    The results go to a new folder below ``logs`` unless ``folder``, which exists, is given.
    """
    device = choose_device(options.device)
    evaluation_set = read_evaluation_set(
        options.test_set_folder,
        queries_folder=options.queries_folder,
        cache_folder=options.cache_folder,
        columns=options.columns,
    )
    network = _load_network(options)
    if options.image_size:
        network.preprocessing = dataclasses.replace(network.preprocessing, image_size=options.image_size)
    resize = options.resize_test_imgs
    if resize is None:
        training = getattr(network, "card", {}).get("training", {})
        resize = bool(options.image_size or training.get("resize_test_imgs"))

    folder = folder or create_run_folder(options.save_dir)
    log_to(folder)
    save_options(options, folder / CONFIG)
    size = f"shorter side {network.preprocessing.image_size} px" if resize else "native size"
    logger.info(
        f"Evaluating {network.backbone_name}, {network.fc_output_dim} dimensions, on {device}; "
        f"{len(evaluation_set.database)} database images and {len(evaluation_set.queries)} queries at {size}"
    )
    evaluation = evaluate(
        network.to(device),
        evaluation_set,
        options,
        device=device,
        resize=resize,
        num_workers=options.num_workers,
        description="Describing",
    )
    logger.info(evaluation.describe())
    if evaluation.queries_without_positives:
        logger.info(
            f"{evaluation.queries_without_positives} of {len(evaluation_set.queries)} queries have no database image "
            f"within {options.positive_dist_threshold:g} m and count as missed"
        )
    settings = {
        "model": options.resume_model or f"{network.backbone_name} untrained",
        "backbone": network.backbone_name,
        "fc_output_dim": network.fc_output_dim,
        "test_set_folder": options.test_set_folder,
        "image_size": network.preprocessing.image_size if resize else "native",
    }
    title = f"{network.backbone_name} on {Path(options.test_set_folder).resolve().name}"
    results = save_results(
        evaluation, evaluation_set, options, folder, title=title, settings=settings, report=options.report
    )
    logger.info(f"Results are in {folder}")
    if options.json:
        json.dump(results, sys.stdout)
        sys.stdout.write("\n")
    return results


def _load_network(options: EvalOptions) -> PlaceNetwork:
    """Load the model that the options name; without one, the backbone as it is before training."""
    if options.resume_model is None:
        logger.warning("No --resume_model is given: evaluating the untrained backbone, as a baseline")
        torch.manual_seed(derive_seed(options.seed))
        return create_network(
            options.backbone or "ResNet18", options.fc_output_dim or 512, weights=options.backbone_weights
        )
    return load_model(options.resume_model, backbone=options.backbone, fc_output_dim=options.fc_output_dim)
