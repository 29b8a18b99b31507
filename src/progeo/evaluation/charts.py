"""From an evaluation to the coordinates of the report's drawings; how they look is the template's matter."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from progeo.evaluation.metrics import FirstMatch
from progeo.evaluation.pictures import format_metres
from progeo.evaluation.recall import RECALL_RANKS, Evaluation
from progeo.html.map_frame import MARGIN, WIDTH, MapFrame, draw_dots
from progeo.search.exact import Integers

MAX_RANK = 20
MAX_DATABASE_POINTS = 20_000
MAX_QUERY_POINTS = 5_000
MAX_MAPS = 6
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
    highest = max(2, math.ceil(math.log10(max(errors[-1], nearest[-1], evaluation.rule.limit, 1e-3))))

    def x_of(metres: float) -> float:
        place = (math.log10(max(metres, 10.0**lowest)) - lowest) / (highest - lowest)
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


@dataclass(frozen=True)
class Map:
    """Queries over database images, to scale, in units of the view box (x to the east, y to the south)."""

    title: str
    height: float
    database_path: str
    database_note: str
    queries_note: str
    query_points: list[tuple[str, str]]
    """Outcome (right, wrong, impossible) and positions of the queries, in layers to be drawn one upon the other."""
    point_size: float
    """Size of a query's sign, 1 for few queries and less for many."""
    bar_units: float
    bar_label: str
    queries: list[list[Any]] = field(repr=False)
    """Per drawn query: x, y, x and y of its first prediction (or None), number, name, outcome, error as text."""

    width: float = WIDTH
    margin: float = MARGIN


OUTCOMES = ("right", "wrong", "impossible")


def find_outcomes(evaluation: Evaluation) -> NDArray[np.str_]:
    """Return for each query whether its first prediction is right, wrong, or could not be right: (Q,) strings."""
    return np.where(evaluation.right[:, 0], OUTCOMES[0], np.where(evaluation.has_positives, OUTCOMES[1], OUTCOMES[2]))


def draw_maps(
    evaluation: Evaluation, query_names: list[str], database_zones: list[int | None], query_zones: list[int | None]
) -> list[Map]:
    """Lay out one map per UTM zone, those with most queries first, or a single one where a zone is not known.

    Positions of different zones cannot be drawn on one map: each zone counts its metres from its own meridian.
    """
    zones = {*database_zones, *query_zones}
    if None in zones or len(zones) == 1:
        everything = (np.arange(len(evaluation.database_positions)), np.arange(len(evaluation.query_positions)))
        return [_draw_map(evaluation, "", query_names, *everything)]
    database_zone, query_zone = np.array(database_zones), np.array(query_zones)
    found, counts = np.unique(query_zone, return_counts=True)
    return [
        _draw_map(
            evaluation,
            f"UTM zone {zone}",
            query_names,
            np.flatnonzero(database_zone == zone),
            np.flatnonzero(query_zone == zone),
        )
        for zone in found[np.argsort(-counts, kind="stable")][:MAX_MAPS]
    ]


def _draw_map(
    evaluation: Evaluation, title: str, query_names: list[str], database_rows: Integers, query_rows: Integers
) -> Map:
    """Lay out the map of some database images and queries."""
    database, queries = evaluation.database_positions[database_rows], evaluation.query_positions[query_rows]
    frame = MapFrame.around(np.concatenate([database, queries]), max(evaluation.rule.limit / 2, 1.0))

    random = np.random.default_rng(0)
    dots = np.unique(frame.place(database).round(), axis=0)
    database_note = f"{len(database):,} database images"
    if len(dots) > MAX_DATABASE_POINTS:
        database_note += f" (as {MAX_DATABASE_POINTS:,} dots, picked at random)"
        dots = dots[random.choice(len(dots), MAX_DATABASE_POINTS, replace=False)]
    elif len(dots) < len(database):
        database_note += " (those that coincide as one dot)"
    queries_note = f"{len(query_rows):,} queries"
    if len(query_rows) > MAX_QUERY_POINTS:
        queries_note = f"{MAX_QUERY_POINTS:,} of the {len(query_rows):,} queries (picked at random)"
        query_rows = np.sort(random.choice(query_rows, MAX_QUERY_POINTS, replace=False))

    places = frame.place(evaluation.query_positions[query_rows])
    predictions = evaluation.predictions[query_rows, 0]
    targets = frame.place(evaluation.database_positions[predictions])
    on_map = np.isin(predictions, database_rows)
    outcomes = find_outcomes(evaluation)[query_rows]
    # Where many queries lie upon each other, mixed layers keep one outcome from hiding the others.
    layers = np.array_split(random.permutation(len(query_rows)), len(query_rows) // 200 + 1)
    bar_units, bar_label = frame.scale_bar()
    return Map(
        title=title,
        height=frame.height,
        database_path=draw_dots(dots),
        database_note=database_note,
        queries_note=queries_note,
        query_points=[
            (outcome, _join(places[layer][outcomes[layer] == outcome].tolist()))
            for layer in layers
            for outcome in OUTCOMES
        ],
        point_size=round(min(1.0, max(0.4, math.sqrt(400 / max(len(query_rows), 1)))), 2),
        bar_units=bar_units,
        bar_label=bar_label,
        queries=[
            [
                *places[i].tolist(),
                *(targets[i].tolist() if on_map[i] else (None, None)),
                int(query),
                query_names[query],
                str(outcomes[i]),
                format_metres(evaluation.errors[query, 0]),
            ]
            for i, query in enumerate(query_rows)
        ],
    )


def _power_label(power: int) -> str:
    """Return the label of 10 to the ``power`` metres on an axis."""
    return f"{10 ** (power - 3):,} km" if power >= 3 else f"{10.0**power:g} m"


def _join(points: list[Any]) -> str:
    """Return points as the ``points`` of an SVG polyline."""
    return " ".join(f"{x:g},{y:g}" for x, y in points)
