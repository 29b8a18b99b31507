"""What the figures of an evaluation mean, for people who do not know them."""

from __future__ import annotations

import numpy as np

from progeo.evaluation.metrics import Measurements
from progeo.evaluation.pictures import format_metres
from progeo.evaluation.recall import Evaluation

ALONE, MOSTLY, PROPOSES, NARROWS = 95.0, 80.0, 50.0, 80.0
"""Percent of queries whose first prediction is right, and for the last, that have a right one among the first few."""
PRECISE = 10.0
"""Metres: about the width of a house."""
FEW = 200
"""Queries below which chance is spoken of."""


def judge(evaluation: Evaluation, measurements: Measurements) -> tuple[str, list[str]]:
    """Return what a model is good enough for, and the reasons, in whole sentences without terms of the field."""
    recalls = evaluation.recalls
    first = recalls[1]
    few, among = max(((rank, recall) for rank, recall in recalls.items() if rank <= 10), key=lambda one: one[1])
    if first >= ALONE:
        headline = "Good enough to place photos by itself."
    elif first >= MOSTLY:
        headline = "Good enough to fill in missing positions, where some wrong ones do no harm."
    elif first >= PROPOSES:
        headline = "Good enough to propose a place that a person then confirms."
    elif among >= NARROWS:
        headline = "Good enough to narrow the search down to a few places, among which a person chooses."
    else:
        headline = "Not good enough yet to rely on."
    reasons = [f"The first place named is right for {_of_100(first)} photos"]
    if few > 1 and among > first:
        reasons[0] += f", and one of the first {few} for {_of_100(among)}"
    reasons[0] += "."
    right = evaluation.errors[:, 0][evaluation.right[:, 0]]
    if evaluation.rule.is_metric and len(right):
        half = float(np.median(right))
        precision = "the house" if half <= PRECISE else "the stretch of the street"
        reasons.append(f"Half of the right ones lie within {format_metres(half)}: precise enough for {precision}.")
    if evaluation.queries_without_positives:
        share = 100 * evaluation.queries_without_positives / len(evaluation.query_positions)
        reasons.append(f"{_of_100(share).capitalize()} photos show places that the database does not have.")
    if len(evaluation.query_positions) < FEW:
        low, high = measurements.intervals[1]
        count = len(evaluation.query_positions)
        reasons.append(
            f"{count:,} photo{' is' if count == 1 else 's are'} few: with others of these places it might be "
            f"{low:.0f} to {high:.0f} of 100."
        )
    if headline.startswith("Not"):
        reasons.append("More photos of the same places, another model, or training on photos like these may help.")
    return headline, reasons


def _of_100(percent: float) -> str:
    if percent >= 99.95:
        return "all"
    return "no" if percent < 0.05 else f"{percent:.0f} of 100" if percent >= 0.5 else "fewer than 1 of 100"
