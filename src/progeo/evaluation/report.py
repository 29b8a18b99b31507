"""The evaluation as one HTML file that opens anywhere, offline: figures, curves, a map, and the worst mistakes."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from progeo.devices import collect_versions
from progeo.evaluation.charts import (
    draw_dimensions,
    draw_error_distribution,
    draw_maps,
    draw_precision_recall,
    draw_recall_curve,
)
from progeo.evaluation.comparison import format_bytes
from progeo.evaluation.evaluation_set import EvaluationSet
from progeo.evaluation.metrics import Measurements
from progeo.evaluation.pictures import NARROWEST, WIDEST, fit_photo, format_error, format_metres, read_tile
from progeo.evaluation.published_figures import PublishedFigures
from progeo.evaluation.recall import Evaluation
from progeo.evaluation.reranking import count_changes, describe_mistake
from progeo.evaluation.verdict import judge
from progeo.evaluation.verifying import PREDICTIONS_SHOWN
from progeo.html.pages import describe_now, write_page
from progeo.search.explanation import Explanation

THUMBNAIL_HEIGHT = 240
EXAMPLES = 20
"""Mistakes that are shown."""


@dataclass(frozen=True)
class Thumbnail:
    """A small picture of a mistake: the query, one of its predictions, or the right answer."""

    role: str
    """query, right, wrong or nearest; decides how it is framed."""
    label: str
    name: str
    image: str
    """The JPEG as a ``data:`` address."""
    aspect: float
    """Its width over its height."""
    explanation: Explanation | None = None
    """What of it and the query agrees."""


@dataclass(frozen=True)
class Mistake:
    """A query whose first prediction is wrong though a right one existed."""

    query: int
    error: str
    explanation: str
    thumbnails: list[Thumbnail]

    @property
    def aspect(self) -> float:
        """Width over height of the room that all pictures get: that of the widest, within limits."""
        return min(max(NARROWEST, *(thumbnail.aspect for thumbnail in self.thumbnails)), WIDEST)

    @property
    def explanations(self) -> list[dict[str, Any] | None]:
        """What a page shows of the pairs of the query and each further picture."""
        explanations = [one.explanation for one in self.thumbnails[1:]]
        return [None if one is None else one.to_dict() for one in explanations]


def write_report(
    evaluation: Evaluation,
    evaluation_set: EvaluationSet,
    measurements: Measurements,
    path: str | Path,
    *,
    title: str,
    settings: Mapping[str, Any],
    published: PublishedFigures | None = None,
    examples: int = EXAMPLES,
) -> None:
    """Write the report of an evaluation: one HTML file without any outside reference.

    Args:
        evaluation: what was found, from ``measure_recalls``.
        evaluation_set: the images and their protocol; of the tables, ``path`` and the UTM columns are used.
        measurements: further figures, from ``measure``.
        path: the file to write.
        title: heading of the page, for example the names of the model and the set.
        settings: what the evaluation ran with, shown as a table.
        published: what was published of this model by this protocol.
        examples: at most this many mistakes are shown with pictures, those farthest off first.

    Raises:
        ProgeoError: the file cannot be written.
    """
    database, queries = evaluation_set.database, evaluation_set.queries
    if len(database) != len(evaluation.database_positions) or len(queries) != len(evaluation.predictions):
        raise ValueError("tables and evaluation are not of the same images")
    metric = evaluation.rule.is_metric
    speed, memory = evaluation.descriptors_per_second, evaluation.encoding_memory_bytes
    headline, reasons = judge(evaluation, measurements)
    before = evaluation.reranking.before
    changes = None
    if before is not None:
        was_right = evaluation.is_right(before[:, 0])
        changes = count_changes(was_right, evaluation.right[:, 0])
    mistakes, mistakes_in_all = _collect_mistakes(evaluation, database["path"], queries["path"], examples)
    write_page(
        "html/report.html",
        path,
        title=title,
        verdict=headline,
        reasons=reasons,
        changes=changes,
        median_error=format_metres(evaluation.median_error),
        percentile_90_error=format_metres(evaluation.percentile_90_error),
        evaluation=evaluation,
        measurements=measurements,
        protocol=evaluation_set.protocol,
        published=published,
        time_per_photo=speed and f"{1000 / speed:.1f} ms",
        memory=memory and format_bytes(memory),
        differences=evaluation_set.differences,
        first_right=int(evaluation.right[:, 0].sum()),
        recall_chart=draw_recall_curve(evaluation),
        error_chart=draw_error_distribution(evaluation) if metric else None,
        precision_chart=draw_precision_recall(measurements.first_match) if measurements.first_match else None,
        dimensions_chart=draw_dimensions(evaluation.recalls_by_dimension) if evaluation.recalls_by_dimension else None,
        maps=draw_maps(evaluation, database, queries) if metric else [],
        mistakes=mistakes,
        mistakes_in_all=mistakes_in_all,
        settings={name: "" if value is None else str(value) for name, value in settings.items()},
        versions=collect_versions(),
        written=describe_now(),
    )


def _collect_mistakes(
    evaluation: Evaluation, database_paths: pl.Series, query_paths: pl.Series, examples: int
) -> tuple[list[Mistake], int]:
    """Return the worst mistakes with pictures, and how many there are in all; only queries that have a positive."""
    errors, rule, reranking = evaluation.errors[:, 0], evaluation.rule, evaluation.reranking
    wrong = evaluation.mistakes
    mistakes = []
    for query in wrong[:examples].tolist():
        right, predictions = evaluation.right[query], evaluation.predictions[query]
        nearest = int(evaluation.nearest_images[query])

        def embed(role: str, label: str, row: int, query: int = query) -> Thumbnail:
            thumbnail = embed_thumbnail(role, label, database_paths[row])
            return dataclasses.replace(thumbnail, explanation=reranking.explanations.get((query, row)))

        thumbnails = [embed_thumbnail("query", "Query", query_paths[query])]
        for rank, prediction in enumerate(predictions[:PREDICTIONS_SHOWN].tolist()):
            role = "right" if right[rank] else "wrong"
            label = f"{rank + 1}. {format_error(evaluation.errors[query, rank], rule)}"
            thumbnails.append(embed(role, label, prediction))
        label = f"Nearest {format_error(evaluation.nearest_distances[query], rule)}"
        thumbnails.append(embed("nearest", label, nearest))
        explanation = describe_mistake(reranking, query, predictions, evaluation.positives(query))
        mistakes.append(Mistake(query, format_error(errors[query], rule), explanation, thumbnails))
    return mistakes, len(wrong)


def embed_thumbnail(role: str, label: str, path: str) -> Thumbnail:
    """Return an image file as a small JPEG inside the page."""
    jpeg = io.BytesIO()
    tile = fit_photo(path, THUMBNAIL_HEIGHT) or read_tile(path, THUMBNAIL_HEIGHT)
    tile.save(jpeg, format="JPEG", quality=76, optimize=True)
    image = "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode("ascii")
    return Thumbnail(role, label, Path(path).name, image, round(tile.width / tile.height, 3))
