"""Figures beyond R@N, against slow and plain computations of the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from progeo.evaluation.comparison import bootstrap_difference, format_markdown, write_comparison
from progeo.evaluation.metrics import bootstrap_recalls, measure, measure_average_precision, measure_first_match
from progeo.evaluation.positives import PUBLISHED_RULE, PositiveRule
from progeo.evaluation.recall import Evaluation, measure_recalls


def random_evaluation(queries: int = 200, database: int = 400, seed: int = 0) -> Evaluation:
    random = np.random.default_rng(seed)
    return measure_recalls(
        np.argsort(random.random((queries, database)), axis=1)[:, :20],
        random.uniform(0, 200, (database, 2)),
        random.uniform(0, 200, (queries, 2)),
        PUBLISHED_RULE,
        np.sort(random.integers(0, 50, (queries, 20)) / 10, axis=1),
    )


def test_intervals_are_those_of_drawing_the_queries_again() -> None:
    evaluation = random_evaluation()
    random = np.random.default_rng(1)
    rows = random.integers(0, 200, (4000, 200))
    found = np.logical_or.accumulate(evaluation.right, axis=1)
    for rank, (low, high) in bootstrap_recalls(evaluation).items():
        drawn = 100 * found[rows, rank - 1].mean(axis=1)
        np.testing.assert_allclose([low, high], np.percentile(drawn, [2.5, 97.5]), atol=1.0)


def test_intervals_follow_from_the_seed_and_hold_the_recall() -> None:
    evaluation = random_evaluation()
    assert bootstrap_recalls(evaluation, seed=3) == bootstrap_recalls(evaluation, seed=3)
    for rank, (low, high) in bootstrap_recalls(evaluation).items():
        assert low < evaluation.recalls[rank] < high


def test_intervals_of_a_perfect_result_have_no_width() -> None:
    evaluation = measure_recalls(np.array([[0, 1]] * 3), np.zeros((2, 2)), np.zeros((3, 2)))
    assert set(bootstrap_recalls(evaluation).values()) == {(100.0, 100.0)}


def test_average_precision_counts_every_positive() -> None:
    database = np.array([[0.0, 0], [1, 0], [2, 0], [900, 0], [910, 0], [5000, 0]])
    queries = np.array([[0.0, 0], [900, 0], [9999, 0]])
    evaluation = measure_recalls(np.array([[0, 3, 2], [5, 4, 3], [0, 1, 2]]), database, queries)
    # 3 positives at ranks 1 and 3 (the third was not found); 2 at ranks 2 and 3; none.
    expected = [(1 / 1 + 2 / 3) / 3, (1 / 2 + 2 / 3) / 2, 0.0]
    assert measure_average_precision(evaluation) == pytest.approx(100 * np.mean(expected))


def test_average_precision_is_not_lowered_by_positives_beyond_its_rank() -> None:
    evaluation = measure_recalls(np.array([[0, 1]]), np.zeros((9, 2)), np.zeros((1, 2)))
    assert measure_average_precision(evaluation) == 100.0


def test_first_match_against_accepting_up_to_each_distance() -> None:
    evaluation = random_evaluation()
    assert evaluation.descriptor_distances is not None
    distances, right = evaluation.descriptor_distances[:, 0], evaluation.right[:, 0]
    precisions, recalls = [], []
    for limit in np.unique(distances):
        accepted = distances <= limit
        precisions.append(100 * right[accepted].mean())
        recalls.append(100 * right[accepted].sum() / evaluation.has_positives.sum())
    first_match = measure_first_match(evaluation)
    assert first_match is not None
    np.testing.assert_allclose(first_match.precision, precisions)
    np.testing.assert_allclose(first_match.recall, recalls)
    area = sum(
        (recall - before) * precision
        for precision, recall, before in zip(precisions, recalls, [0.0, *recalls], strict=False)
    )
    assert first_match.average_precision == pytest.approx(area / 100)


def test_distances_that_tell_right_from_wrong_have_the_whole_area() -> None:
    database = np.array([[0.0, 0.0], [900.0, 0.0]])
    predictions, distances = np.array([[0], [0], [1]]), np.array([[0.1], [0.2], [0.9]])
    evaluation = measure_recalls(predictions, database, np.zeros((3, 2)), PUBLISHED_RULE, distances)
    first_match = measure_first_match(evaluation)
    assert first_match is not None
    assert first_match.recall_at_full_precision == pytest.approx(200 / 3)
    assert first_match.average_precision == pytest.approx(200 / 3)


def test_first_match_without_any_positive_is_zero() -> None:
    evaluation = measure_recalls(
        np.array([[0]]), np.zeros((1, 2)), np.full((1, 2), 999.0), PUBLISHED_RULE, np.array([[0.5]])
    )
    first_match = measure_first_match(evaluation)
    assert first_match is not None
    assert (first_match.average_precision, first_match.recall_at_full_precision) == (0.0, 0.0)


def test_other_radii_and_groups() -> None:
    database = np.array([[0.0, 0.0], [60.0, 0.0]])
    queries = np.array([[4.0, 0.0], [20.0, 0.0], [100.0, 0.0]])
    evaluation = measure_recalls(np.array([[0], [0], [1]]), database, queries)
    groups = {"day": np.array([0, 2]), "night": np.array([1])}
    measurements = measure(evaluation, radii=[50, 5, 50.0], group_by="day_night", groups=groups)
    assert {radius: recalls[1] for radius, recalls in measurements.radii.items()} == {
        5: pytest.approx(100 / 3),
        50: 100.0,
    }
    assert [(group.value, group.queries, group.recalls[1]) for group in measurements.groups] == [
        ("day", 2, 50.0),
        ("night", 1, 100.0),
    ]
    assert measurements.groups[0].intervals[1] == (0.0, 100.0)
    assert measurements.points_per_query == pytest.approx(100 / 3)
    assert json.loads(json.dumps(measurements.to_dict()))["recalls_by_radius"]["50"]["R@1"] == 100.0


def test_what_one_query_is_worth_is_a_plain_number() -> None:
    evaluation = measure_recalls(np.array([[0]]), np.zeros((1, 2)), np.zeros((1, 2)))
    assert measure(evaluation).describe_intervals().endswith("one query is worth 100 points")


def test_difference_of_two_models_is_measured_in_pairs() -> None:
    database = np.array([[0.0, 0.0], [900.0, 0.0]])
    queries = np.zeros((100, 2))
    worse = measure_recalls(np.array([[0]] * 40 + [[1]] * 60), database, queries)
    better = measure_recalls(np.array([[0]] * 50 + [[1]] * 50), database, queries)
    difference, (low, high) = bootstrap_difference(worse, better)
    assert difference == pytest.approx(10.0)
    # All that differs are ten queries: far less uncertain than the recalls themselves.
    assert 3 < low < difference < high < 17
    assert bootstrap_difference(worse, worse) == (0.0, (0.0, 0.0))


def test_comparison_in_markdown_and_as_a_page(tmp_path: Path) -> None:
    result = {
        **{"model": "a", "batch_dependent": False, "recalls": {"R@1": 50.0}, "fc_output_dim": 8},
        **{"difference_from_first": None, "milliseconds_per_photo": 12.34, "database_memory_bytes": 3_200_000},
        **{"encoding_memory_bytes": 1_500_000_000, "published": None},
    }
    other = result | {
        **{"model": "b", "batch_dependent": True, "milliseconds_per_photo": None, "encoding_memory_bytes": None},
        "difference_from_first": {"R@1": -3.0, "interval": (-5.0, 1.0)},
    }
    assert format_markdown([result, other], "A town").splitlines() == [
        "A town",
        "",
        "| model | R@1 | R@1 to first | dim | ms/photo | memory | database |",
        "| :-- | --: | --: | --: | --: | --: | --: |",
        "| a | 50.0 |  | 8 | 12.3 | 1.5 GB | 3.2 MB |",
        "| b (batch-dependent) | 50.0 | -3.0 (-5.0 to +1.0) | 8 | kept |  | 3.2 MB |",
    ]
    known = result | {"published": {"recalls": {"R@1": 47.25}, "source": "https://example.org/figures"}}
    lines = format_markdown([known, other], "A town").splitlines()
    assert lines[2] == "| model | R@1 | R@1 published | R@1 to first | dim | ms/photo | memory | database |"
    assert lines[4] == "| a | 50.0 | 47.2 |  | 8 | 12.3 | 1.5 GB | 3.2 MB |"
    assert lines[5].startswith("| b (batch-dependent) | 50.0 |  | -3.0")
    assert lines[-1] == "Published: https://example.org/figures"
    write_comparison([known, other | {"model": "<b>"}], "A town", tmp_path / "comparison.html")
    page = (tmp_path / "comparison.html").read_text(encoding="utf-8")
    assert 'href="https://example.org/figures"' in page
    assert "&lt;b&gt; (batch-dependent)</th>" in page
    assert "<b>" not in page


def test_frames_have_no_errors_in_metres() -> None:
    frames = np.arange(30.0)[:, None]
    evaluation = measure_recalls(np.array([[3, 20]]), frames, np.array([[10.0]]), PositiveRule("frames", 10))
    figures = evaluation.to_dict()
    assert (figures["positives"], figures["threshold_metres"], figures["median_error_metres"]) == (
        "within 10 frames",
        None,
        None,
    )
    assert evaluation.describe() == "R@1: 100.0"
    assert evaluation.positive_counts.tolist() == [21]
