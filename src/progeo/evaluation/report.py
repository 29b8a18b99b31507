"""The evaluation as one HTML file that opens anywhere, offline: figures, curves, a map, and the worst mistakes."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
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
from progeo.evaluation.pictures import format_error, format_metres, read_tile
from progeo.evaluation.published_figures import PublishedFigures
from progeo.evaluation.recall import Evaluation
from progeo.html.pages import write_page

THUMBNAIL_HEIGHT = 180
PREDICTIONS_SHOWN = 4


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


@dataclass(frozen=True)
class Mistake:
    """A query whose first prediction is wrong though a right one existed."""

    query: int
    error: str
    explanation: str
    thumbnails: list[Thumbnail]

    @property
    def aspect(self) -> float:
        """Width over height of the widest picture, which all get as their room."""
        return max(thumbnail.aspect for thumbnail in self.thumbnails)


def write_report(
    evaluation: Evaluation,
    evaluation_set: EvaluationSet,
    measurements: Measurements,
    path: str | Path,
    *,
    title: str,
    settings: Mapping[str, Any],
    published: PublishedFigures | None = None,
    examples: int = 20,
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
    mistakes, mistakes_in_all = _collect_mistakes(evaluation, database["path"], queries["path"], examples)
    write_page(
        "html/report.html",
        path,
        title=title,
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
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )


def _collect_mistakes(
    evaluation: Evaluation, database_paths: pl.Series, query_paths: pl.Series, examples: int
) -> tuple[list[Mistake], int]:
    """Return the worst mistakes with pictures, and how many there are in all; only queries that have a positive."""
    errors, rule = evaluation.errors[:, 0], evaluation.rule
    wrong = np.flatnonzero(~evaluation.right[:, 0] & evaluation.has_positives)
    worst = wrong[np.argsort(-errors[wrong], kind="stable")][:examples]
    mistakes = []
    for query in worst.tolist():
        right = evaluation.right[query]
        shown = evaluation.predictions[query, :PREDICTIONS_SHOWN].tolist()
        nearest = int(evaluation.nearest_images[query])
        thumbnails = [embed_thumbnail("query", "Query", query_paths[query])]
        for rank, prediction in enumerate(shown):
            role = "right" if right[rank] else "wrong"
            label = f"{rank + 1}. {format_error(evaluation.errors[query, rank], rule)}"
            thumbnails.append(embed_thumbnail(role, label, database_paths[prediction]))
        label = f"Nearest {format_error(evaluation.nearest_distances[query], rule)}"
        thumbnails.append(embed_thumbnail("nearest", label, database_paths[nearest]))
        if right.any():
            explanation = f"the first right prediction has rank {int(right.argmax()) + 1}"
        else:
            explanation = f"none of the {len(right)} predictions is right"
        mistakes.append(Mistake(query, format_error(errors[query], rule), explanation, thumbnails))
    return mistakes, len(wrong)


def embed_thumbnail(role: str, label: str, path: str) -> Thumbnail:
    """Return an image file as a small JPEG inside the page."""
    jpeg = io.BytesIO()
    tile = read_tile(path, THUMBNAIL_HEIGHT)
    tile.save(jpeg, format="JPEG", quality=76, optimize=True)
    image = "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode("ascii")
    return Thumbnail(role, label, Path(path).name, image, round(tile.width / tile.height, 3))
