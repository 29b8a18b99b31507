"""The files of an evaluation: its figures, pictures of its predictions, its report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from progeo.devices import collect_versions
from progeo.evaluation.evaluation_set import EvaluationSet
from progeo.evaluation.metrics import Measurements, measure
from progeo.evaluation.pictures import save_predictions
from progeo.evaluation.published_figures import find_published_figures
from progeo.evaluation.recall import Evaluation
from progeo.evaluation.report import write_report
from progeo.files import REPORT, RESULTS, write_json
from progeo.models.spec import ModelSpec

METHODS = {"cosplace": "CosPlace", "progeo": "ProGEO"}
"""How methods are written."""


def make_title(spec: ModelSpec, test_set: str | Path, *, untrained: bool = False) -> str:
    """Return what a report shows, as its heading: ``ResNet18, trained with CosPlace, on test``."""
    provenance = spec.provenance
    how = ""
    if untrained or provenance.get("untrained"):
        how = ", not trained for places,"
    elif "fitted" in provenance:
        how = ", fitted without training,"
    elif method := (provenance.get("training") or {}).get("method"):
        how = f", trained with {METHODS.get(method, method)},"
    return f"{spec.backbone}{how} on {Path(test_set).resolve().name}"


def save_results(
    evaluation: Evaluation,
    evaluation_set: EvaluationSet,
    folder: Path,
    *,
    title: str,
    settings: dict[str, Any],
    spec: dict[str, Any] | None = None,
    measurements: Measurements | None = None,
    num_preds_to_save: int = 0,
    save_only_wrong_preds: bool = False,
    report: bool = True,
) -> dict[str, Any]:
    """Write ``results.json``, and what else is asked for, into a folder; return the results.

    Args:
        evaluation: what was found.
        evaluation_set: its photos.
        folder: where to write; it exists.
        title: heading of the report.
        settings: what the evaluation ran with; the results start with it, and the report shows it.
        spec: what the model is, as ``ModelSpec.to_dict`` gives it.
        measurements: what ``measure`` gives; without them those that need no settings are taken.
        num_preds_to_save: predictions per picture below ``preds``; with 0 there are no pictures.
        save_only_wrong_preds: picture only queries whose first prediction is wrong.
        report: write ``report.html``.
    """
    measurements = measurements or measure(evaluation)
    protocol = evaluation_set.protocol
    published = find_published_figures(settings.get("model"), protocol.name if protocol else None)
    speed = evaluation.descriptors_per_second
    content = settings | {
        "spec": spec,
        "protocol": protocol.name if protocol else None,
        "protocol_differences": evaluation_set.differences,
        **evaluation.to_dict(),
        **measurements.to_dict(),
        "published": published and published.to_dict(),
        "descriptors_per_second": speed,
        "milliseconds_per_photo": speed and 1000 / speed,
        "encoding_memory_bytes": evaluation.encoding_memory_bytes,
        "recalls_by_dimension": evaluation.recalls_by_dimension or None,
        "versions": collect_versions(),
    }
    results: dict[str, Any] = json.loads(json.dumps(content))  # the same as who reads the file gets
    write_json(folder / RESULTS, results)
    paths = (evaluation_set.database["path"].to_list(), evaluation_set.queries["path"].to_list())
    save_predictions(evaluation, *paths, folder / "preds", num_preds_to_save, only_wrong=save_only_wrong_preds)
    if report:
        write_report(
            evaluation,
            evaluation_set,
            measurements,
            folder / REPORT,
            title=title,
            settings=settings,
            published=published,
        )
    return results
