"""Search and recall: the published numbers, the edges of the threshold, and input that cannot be measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from progeo.data.zones import BETWEEN_ZONES
from progeo.errors import ProgeoError
from progeo.evaluation.charts import draw_error_distribution
from progeo.evaluation.positives import PUBLISHED_RULE, PositiveRule
from progeo.evaluation.recall import measure_recalls
from progeo.search.exact import search


def test_equal_to_published_evaluation(parity_dir: Path) -> None:
    fixture = np.load(parity_dir / "recall.npz")
    distances, predictions = search(fixture["database_descriptors"], fixture["queries_descriptors"], k=20)
    np.testing.assert_array_equal(predictions, fixture["predictions"])

    evaluation = measure_recalls(
        predictions, fixture["database_utm"], fixture["queries_utm"], PUBLISHED_RULE, distances
    )
    np.testing.assert_allclose(list(evaluation.recalls.values()), fixture["recalls"], rtol=1e-5)
    assert evaluation.queries_without_positives == fixture["num_queries_without_positive"]


def test_threshold_itself_is_right() -> None:
    database = np.array([[7.0, 24.0], [7.0, 24.001]])
    queries = np.zeros((2, 2))
    evaluation = measure_recalls(np.array([[0], [1]]), database, queries, PositiveRule("metres", 25.0))
    assert evaluation.right[:, 0].tolist() == [True, False]
    assert evaluation.recall_curve.tolist() == [50.0]
    assert evaluation.positives(0).tolist() == [0]


def test_queries_without_positives_count_as_missed() -> None:
    database = np.array([[0.0, 0.0], [1000.0, 0.0]])
    queries = np.array([[3.0, 0.0], [500.0, 0.0], [1001.0, 0.0], [990.0, 0.0]])
    evaluation = measure_recalls(np.array([[0, 1], [0, 1], [0, 1], [1, 0]]), database, queries)
    assert evaluation.queries_without_positives == 1
    assert evaluation.has_positives.tolist() == [True, False, True, True]
    assert evaluation.nearest_images.tolist()[2:] == [1, 1]
    assert evaluation.nearest_distances.tolist() == [3.0, 500.0, 1.0, 10.0]
    assert evaluation.recall_curve.tolist() == [50.0, 75.0]
    assert evaluation.errors[:, 0].tolist() == [3.0, 500.0, 1001.0, 10.0]
    assert evaluation.median_error == 255.0
    assert evaluation.percentile_90_error == pytest.approx(np.percentile([3.0, 500.0, 1001.0, 10.0], 90))


def test_positives_come_nearest_first() -> None:
    database = np.array([[20.0, 0.0], [100.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    evaluation = measure_recalls(np.array([[1]]), database, np.zeros((1, 2)))
    assert evaluation.positives(0).tolist() == [2, 3, 0]


def test_a_small_database_that_was_searched_whole_has_all_recalls() -> None:
    database, queries = np.array([[0.0, 0.0], [900.0, 0.0]]), np.zeros((1, 2))
    assert measure_recalls(np.array([[1, 0]]), database, queries).recalls == {1: 0.0, 5: 100.0, 10: 100.0, 20: 100.0}


def test_ranks_that_were_not_searched_have_no_recall() -> None:
    database, queries = np.arange(24.0).reshape(12, 2), np.zeros((2, 2))
    evaluation = measure_recalls(np.tile(np.arange(5), (2, 1)), database, queries)
    assert list(evaluation.recalls) == [1, 5]


def test_figures_as_json_and_as_text() -> None:
    database = np.array([[0.0, 0.0], [3000.0, 0.0]])
    evaluation = measure_recalls(np.array([[0, 1], [0, 1]]), database, np.array([[0.0, 4.0], [3000.0, 0.0]]))
    assert json.loads(json.dumps(evaluation.to_dict())) == {
        "recalls": {"R@1": 50.0, "R@5": 100.0, "R@10": 100.0, "R@20": 100.0},
        "median_error_metres": 1502.0,
        "percentile_90_error_metres": pytest.approx(2700.4),
        "threshold_metres": 25.0,
        "positives": "within 25 m",
        "database_images": 2,
        "queries": 2,
        "queries_without_positives": 0,
    }
    assert evaluation.describe() == (
        "R@1: 50.0, R@5: 100.0, R@10: 100.0, R@20: 100.0, median error: 1502.0 m, 90th percentile: 2700.4 m"
    )


def test_no_distance_is_made_up_between_zones() -> None:
    database = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, BETWEEN_ZONES]])
    evaluation = measure_recalls(np.array([[0, 1], [0, 1], [0, 1]]), database, database[[0, 1, 1]])
    figures = evaluation.to_dict()
    assert figures["median_error_metres"] is figures["percentile_90_error_metres"] is None
    assert evaluation.describe().endswith("median error: in another UTM zone, 90th percentile: in another UTM zone")
    assert draw_error_distribution(evaluation).x_ticks[-1][1] == "100 m"


def test_positions_must_be_numbers() -> None:
    with pytest.raises(ProgeoError, match=r"position of query number 1 \(from 0\) holds NaN"):
        measure_recalls(np.zeros((2, 1), dtype=np.int64), np.zeros((3, 2)), np.array([[0.0, 0.0], [np.nan, 0.0]]))


def test_nothing_to_measure() -> None:
    with pytest.raises(ProgeoError, match="not a single query"):
        measure_recalls(np.zeros((0, 1), dtype=np.int64), np.zeros((3, 2)), np.zeros((0, 2)))


@pytest.mark.parametrize(
    ("predictions", "message"),
    [([[3]], "rows of the database, 0 to 2"), ([[-1]], "rows of the database"), ([[0], [0]], r"must be \(1, k\)")],
)
def test_predictions_must_fit_the_images(predictions: list[list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure_recalls(np.array(predictions), np.zeros((3, 2)), np.zeros((1, 2)))
