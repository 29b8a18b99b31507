"""From an evaluation to the coordinates of the report's drawings; how they look is the template's matter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from progeo.evaluation.metrics import FirstMatch
from progeo.evaluation.pictures import format_metres
from progeo.evaluation.recall import RECALL_RANKS, Evaluation, is_measured
from progeo.html.maps import Ground, Layer, MapData, Sign, split_by_zone, surround, thin_out
from progeo.search.exact import Floats

MAX_RANK = 20
MAX_QUERY_POINTS = 5_000
MAX_CURVE_POINTS = 400


@dataclass(frozen=True)
class Curve:
    """A line of a chart: its corners as SVG wants them, and whether it is what was measured or the best possible."""

    points: str
    style: str


@dataclass(frozen=True)
class Mark:
    """A point of a rising curve, with its label where the curve is not: below to the right, or above to the left."""

    x: float
    y: float
    label: str
    label_right: bool


@dataclass(frozen=True)
class Chart:
    """A drawing with a horizontal axis and a vertical one from 0 to 100 percent, in units of its view box."""

    description: str
    x_label: str
    x_ticks: list[tuple[float, str]]
    curves: list[Curve]
    marks: list[Mark]
    threshold: tuple[float, str] | None = None

    width: float = 440
    height: float = 300
    left: float = 50
    right: float = 408
    top: float = 26
    bottom: float = 250

    @property
    def y_ticks(self) -> list[tuple[float, str]]:
        """Heights and labels of the percentages on the vertical axis."""
        return [(_chart_y(percent), str(percent)) for percent in (0, 25, 50, 75, 100)]


def _chart_y(percent: float) -> float:
    """Return the height in a chart at which a percentage is drawn."""
    return round(Chart.bottom - (Chart.bottom - Chart.top) * percent / 100, 1)


def draw_recall_curve(evaluation: Evaluation) -> Chart:
    """Lay out R@1 to R@20 with the share of queries that have a positive as the best possible."""
    curve = evaluation.recall_curve[:MAX_RANK]
    left, right = Chart.left + 14, Chart.right - 6

    def x_of(rank: int) -> float:
        return round(left + (right - left) * (rank - 1) / max(len(curve) - 1, 1), 1)

    points = [(x_of(rank), _chart_y(recall)) for rank, recall in enumerate(curve, start=1)]
    best = _chart_y(100 * evaluation.has_positives.mean())
    marks = [
        Mark(*points[rank - 1], f"{curve[rank - 1]:.1f}", label_right=rank == 1)
        for rank in RECALL_RANKS
        if rank <= len(curve)
    ]
    return Chart(
        description="Recall curve. "
        + ", ".join(f"R@{rank} {recall:.1f} %" for rank, recall in enumerate(curve, start=1)),
        x_label="predictions looked at",
        x_ticks=[(x_of(rank), str(rank)) for rank in (1, 5, 10, 15, 20) if rank <= len(curve)],
        curves=[Curve(f"{left},{best} {right},{best}", "best"), Curve(_join(points), "measured")],
        marks=marks,
    )


def draw_error_distribution(evaluation: Evaluation) -> Chart:
    """Lay out the percentage of queries whose first prediction lies within each distance, from 1 m on, log scale."""
    errors = np.sort(evaluation.errors[:, 0])
    nearest = np.sort(evaluation.nearest_distances)
    lowest = min(0, math.floor(math.log10(max(evaluation.rule.limit, 1e-3))))
    farthest = max(filter(is_measured, [*errors, *nearest]), default=0.0)
    highest = max(2, math.ceil(math.log10(max(farthest, evaluation.rule.limit, 1e-3))))

    def x_of(metres: float) -> float:
        place = (math.log10(min(max(metres, 10.0**lowest), 10.0**highest)) - lowest) / (highest - lowest)
        return round(Chart.left + (Chart.right - Chart.left) * place, 1)

    step = 1 if highest - lowest <= 4 else 2
    grid = np.logspace(lowest, highest, 180)
    curves = []
    for values, style in ((nearest, "best"), (errors, "measured")):
        within = 100 * np.searchsorted(values, grid, side="right") / len(values)
        # It rises along the axis by the share of what is nearer still, so that no mark stands off its curve.
        points = [(Chart.left, Chart.bottom), *((x_of(m), _chart_y(p)) for m, p in zip(grid, within, strict=True))]
        curves.append(Curve(_join(points), style))
    quantiles = (("median", evaluation.median_error, 50.0), ("90 %", evaluation.percentile_90_error, 90.0))
    middle = (Chart.left + Chart.right) / 2
    return Chart(
        description=(
            f"Error of the first prediction, cumulative: half of the queries within "
            f"{format_metres(evaluation.median_error)}, 90 % within {format_metres(evaluation.percentile_90_error)}, "
            f"{evaluation.recall_curve[0]:.1f} % within {evaluation.rule.limit:g} m."
        ),
        x_label="distance from the query, log scale",
        x_ticks=[
            (x_of(10.0**power), ("≤ " if power == lowest else "") + _power_label(power))
            for power in range(lowest, highest + 1, step)
        ],
        curves=curves,
        marks=[
            Mark(x_of(metres), _chart_y(percent), f"{name}: {format_metres(metres)}", label_right=x_of(metres) < middle)
            for name, metres, percent in quantiles
        ],
        threshold=(x_of(evaluation.rule.limit), f"{evaluation.rule.limit:g} m"),
    )


def draw_precision_recall(first_match: FirstMatch) -> Chart:
    """Lay out the precision of the first predictions accepted against the recall that this gives."""
    width = Chart.right - Chart.left
    corners = np.unique(np.linspace(0, len(first_match.recall) - 1, MAX_CURVE_POINTS).round().astype(int))
    points = [
        (round(Chart.left + width * recall / 100, 1), _chart_y(precision))
        for recall, precision in zip(first_match.recall[corners], first_match.precision[corners], strict=True)
    ]
    return Chart(
        description=(
            f"Precision and recall of the first prediction: area {first_match.average_precision:.1f} %, all right up "
            f"to a recall of {first_match.recall_at_full_precision:.1f} %."
        ),
        x_label="recall, %",
        x_ticks=[(round(Chart.left + width * percent / 100, 1), str(percent)) for percent in (0, 25, 50, 75, 100)],
        curves=[Curve(_join(points), "measured")],
        marks=[],
    )


def draw_dimensions(recalls: dict[int, float]) -> Chart:
    """Lay out R@1 against the number of principal components, log scale; bytes are those of single precision."""
    left, right = Chart.left + 20, Chart.right - 14
    lowest, highest = math.log2(min(recalls)), math.log2(max(recalls))

    def x_of(count: int) -> float:
        return round(left + (right - left) * (math.log2(count) - lowest) / max(highest - lowest, 1), 1)

    points = [(x_of(count), _chart_y(recall)) for count, recall in recalls.items()]
    ends = {min(recalls), max(recalls)}
    return Chart(
        description="R@1 by dimension. "
        + ", ".join(f"{count} ({4 * count} bytes) {recall:.1f} %" for count, recall in recalls.items()),
        x_label="dimensions, log scale",
        x_ticks=[(x_of(count), str(count)) for count in recalls if count & (count - 1) == 0 or count in ends],
        curves=[Curve(_join(points), "measured")],
        marks=[Mark(*points[i], f"{recall:.1f}", label_right=i == 0) for i, recall in enumerate(recalls.values())],
    )


OUTCOMES = ("right", "wrong", "impossible")
OUTCOME_WORDS = {"right": "right", "wrong": "wrong", "impossible": "wrong, and no database image is near enough"}


def find_outcomes(evaluation: Evaluation) -> NDArray[np.str_]:
    """Return for each query whether its first prediction is right, wrong, or could not be right: (Q,) strings."""
    return np.where(evaluation.right[:, 0], OUTCOMES[0], np.where(evaluation.has_positives, OUTCOMES[1], OUTCOMES[2]))


def draw_maps(evaluation: Evaluation, database: pl.DataFrame, queries: pl.DataFrame) -> list[MapData]:
    """Return one map per UTM zone, those with most queries first.

    Positions of different zones cannot be drawn on one map: each zone counts its metres from its own meridian.

    Args:
        evaluation: of positions in metres.
        database: N images: ``path``, ``utm_east``, ``utm_north``, ``utm_zone``, ``utm_letter``.
        queries: Q images likewise.
    """
    columns = ("utm_east", "utm_north", "utm_zone", "utm_letter")
    table = pl.concat([database.select(columns), queries.select(columns)])
    grounds = split_by_zone(table, np.repeat([0.0, 1.0], [len(database), len(queries)]))
    names = [Path(query).name for query in queries["path"]]
    return [_draw_map(evaluation, names, table.select(columns[:2]).to_numpy(), ground) for ground in grounds]


def _draw_map(evaluation: Evaluation, query_names: list[str], positions: Floats, ground: Ground) -> MapData:
    """Return the map of the database images and queries of a ground; positions (N + Q, 2) are of all images."""
    count = len(evaluation.database_positions)
    database, queries = ground.rows[ground.rows < count], ground.rows[ground.rows >= count] - count
    rows, database_note = thin_out(positions[database], f"{len(database):,} database images")
    queries_note = f"{len(queries):,} queries"
    if len(queries) > MAX_QUERY_POINTS:
        queries_note = f"{MAX_QUERY_POINTS:,} of the {len(queries):,} queries (picked at random)"
        queries = np.sort(np.random.default_rng(0).choice(queries, MAX_QUERY_POINTS, replace=False))
    predictions = evaluation.predictions[queries, 0]
    at, predicted = ground.place(positions[count + queries]), ground.place(positions[predictions])
    on_map = np.isin(predictions, database)
    outcomes = find_outcomes(evaluation)[queries]
    signs = [
        Sign(
            at[i],
            OUTCOMES.index(outcomes[i]),
            f"Query {query}: first prediction {format_metres(evaluation.errors[query, 0])} off, "
            f"{OUTCOME_WORDS[outcomes[i]]}. {query_names[query]}",
            matches=[predicted[i]] if on_map[i] else [],
        )
        for i, query in enumerate(queries.tolist())
    ]
    dots = ground.place(positions[database[rows]])
    return MapData(
        note=f"{queries_note} and {database_note}",
        layers=[
            Layer("first prediction right", "good", "disc"),
            Layer("wrong", "wrong", "cross"),
            Layer("wrong, no database image is near enough", "fair", "triangle"),
            Layer("database", "dot", points=dots),
        ],
        frame=surround(at + dots),
        signs=signs,
        title=ground.title,
        flat=ground.zone is None,
    )


def _power_label(power: int) -> str:
    """Return the label of 10 to the ``power`` metres on an axis."""
    return f"{10 ** (power - 3):,} km" if power >= 3 else f"{10.0**power:g} m"


def _join(points: list[Any]) -> str:
    """Return points as the ``points`` of an SVG polyline."""
    return " ".join(f"{x:g},{y:g}" for x, y in points)
