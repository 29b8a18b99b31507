"""What the figures of an evaluation mean, for people who do not know them."""

from __future__ import annotations

import numpy as np
import pytest

from progeo.evaluation.metrics import measure
from progeo.evaluation.positives import PositiveRule
from progeo.evaluation.recall import Evaluation, measure_recalls
from progeo.evaluation.verdict import judge


def evaluate(right_first: int, right_fifth: int, wrong: int, error: float = 6.0) -> Evaluation:
    """Queries of which some are right at once, some with their fifth prediction, and some never."""
    count = right_first + right_fifth + wrong
    database = np.stack([np.arange(count + 1) * 1000.0, np.zeros(count + 1)], axis=1)
    queries = database[:count] + np.array([0.0, error])
    others = (np.arange(count)[:, None] + np.arange(1, 11)) % (count + 1)
    predictions = others.copy()
    predictions[:right_first, 0] = np.arange(right_first)
    fifth = np.arange(right_first, right_first + right_fifth)
    predictions[fifth, 4] = fifth
    return measure_recalls(predictions, database, queries)


@pytest.mark.parametrize(
    ("right", "fifth", "wrong", "headline"),
    [
        (98, 2, 0, "place photos by itself"),
        (85, 5, 10, "fill in missing positions"),
        (60, 10, 30, "propose a place that a person then confirms"),
        (20, 70, 10, "narrow the search"),
        (20, 10, 70, "Not good enough"),
    ],
)
def test_what_it_is_good_enough_for(right: int, fifth: int, wrong: int, headline: str) -> None:
    evaluation = evaluate(right, fifth, wrong)
    found, reasons = judge(evaluation, measure(evaluation))
    assert headline in found
    assert f"right for {right} of 100 photos" in reasons[0]
    assert "within 6.0 m: precise enough for the house" in " ".join(reasons)
    assert "100 photos are few: with others of these places it might be" in " ".join(reasons)
    assert "R@" not in " ".join([found, *reasons])


def test_all_none_and_missing_places() -> None:
    evaluation = evaluate(300, 0, 0, error=20.0)
    assert judge(evaluation, measure(evaluation))[1] == [
        "The first place named is right for all photos.",
        "Half of the right ones lie within 20.0 m: precise enough for the stretch of the street.",
    ]
    positions = np.array([[0.0, 0.0], [1000.0, 0.0]])
    evaluation = measure_recalls(np.array([[1]]), positions, np.array([[500.0, 0.0]]))
    found, reasons = judge(evaluation, measure(evaluation))
    assert found.startswith("Not good enough") and "right for no photos." in reasons[0]
    assert "All photos show places that the database does not have." in reasons
    frames = measure_recalls(np.array([[0]]), np.zeros((1, 1)), np.zeros((1, 1)), PositiveRule("frames", 1))
    assert "within" not in " ".join(judge(frames, measure(frames))[1])
