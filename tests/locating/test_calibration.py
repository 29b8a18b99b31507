"""Learning how sure estimates are."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from progeo.errors import ProgeoError
from progeo.locating.calibration import (
    SMALLEST_RADIUS,
    Calibration,
    Judge,
    check_enough,
    cross_validate,
    fit_calibration,
    fit_radius_factor,
    measure_calibration_error,
)
from progeo.locating.evidence import RIGHT_WITHIN

from .evidence import draw_queries, make_evidence


def test_a_calibration_of_before_knows_no_verification() -> None:
    judge = Judge(["best"], [0.0], [1.0], [-1.0], 0.0)
    old = Calibration.from_dict(Calibration(judge, None, 1.0, 40).to_dict())
    new = replace(old, verified=Judge(["strength"], [0.0], [1.0], [5.0], 0.0))
    plain, verified = (make_evidence({"best": 1.0, **more}) for more in ({}, {"strength": 1.0}))
    assert [old.knows_verification(plain), old.knows_verification(verified)] == [None, False]
    assert [new.knows_verification(plain), new.knows_verification(verified)] == [None, True]
    assert old.judge([verified])[0] == old.judge([plain])[0]
    assert new.judge([verified])[0] > 0.9


def everywhere(count: int) -> np.typing.NDArray[np.bool_]:
    return np.ones(count, dtype=bool)


def test_the_probabilities_that_queries_were_drawn_by_are_found() -> None:
    evidence, errors, truth = draw_queries(4000)
    calibration = fit_calibration(evidence, errors, everywhere(4000))
    probabilities, presence = calibration.judge(evidence)
    assert np.abs(probabilities - truth).max() < 0.06
    assert presence is None  # nothing from outside was shown
    assert (calibration.queries, calibration.source) == (4000, "queries")
    radius = calibration.limit_radius(evidence[0].radius)
    assert radius == pytest.approx(16, abs=0.4)  # 8 of 10 errors are below 16 m


def test_queries_that_were_not_learned_from_are_judged_as_well() -> None:
    evidence, errors, truth = draw_queries(1000)
    probabilities, _, radii = cross_validate(evidence, errors, everywhere(1000))
    assert np.abs(probabilities - truth).mean() < 0.05
    assert measure_calibration_error(probabilities, errors <= 25) < 0.05
    right = errors <= RIGHT_WITHIN
    assert np.mean(errors[right] <= radii[right]) == pytest.approx(0.8, abs=0.05)


def test_photos_from_outside_teach_what_is_in_the_database() -> None:
    evidence, errors, _ = draw_queries(100)
    far = [make_evidence({**item.features, "best": item.features["best"] + 3}) for item in evidence]
    inside = np.arange(200) < 100
    both, all_errors = [*evidence, *far], np.concatenate([errors, np.full(100, np.inf)])
    calibration = fit_calibration(both, all_errors, inside)
    probabilities, presence = calibration.judge(both)
    assert presence is not None
    assert ((presence > 0.5) == inside).all()
    assert (probabilities <= presence).all()
    # Later queries, all from inside, do not make it forget.
    again = fit_calibration(evidence, errors, everywhere(100), calibration)
    assert again.present == calibration.present
    # A default comes from elsewhere: it does not hold down what the database's own queries teach.
    assert fit_calibration(evidence, errors, everywhere(100), replace(calibration, source="default")).present is None


@pytest.mark.parametrize("error", [3.0, 300.0])
def test_queries_that_are_all_right_or_all_wrong_leave_some_doubt(error: float) -> None:
    evidence, _, _ = draw_queries(100)
    calibration = fit_calibration(evidence, np.full(100, error), everywhere(100))
    probabilities, _ = calibration.judge(evidence)
    assert ((probabilities > 0) & (probabilities < 1)).all()
    assert (probabilities > 0.5).all() == (error <= 25)
    assert SMALLEST_RADIUS <= calibration.limit_radius(evidence[0].radius) <= RIGHT_WITHIN


def test_circles_of_photos_at_one_point_are_not_empty() -> None:
    evidence, _, _ = draw_queries(100)
    calibration = fit_calibration(evidence, np.zeros(100), everywhere(100))
    assert calibration.limit_radius(evidence[0].radius) == SMALLEST_RADIUS
    assert fit_radius_factor(np.zeros(3), np.ones(3), otherwise=0.7) == 0.7  # three say nothing


def test_features_that_never_vary_do_no_harm() -> None:
    evidence, errors, _ = draw_queries(100)
    evidence = [make_evidence({**item.features, "spread": 1.6}) for item in evidence]
    assert np.isfinite(fit_calibration(evidence, errors, everywhere(100)).judge(evidence)[0]).all()


def test_verified_matches_are_judged_by_what_was_learned_of_such() -> None:
    evidence, errors, _ = draw_queries(200)
    right = errors <= RIGHT_WITHIN
    verified = [
        make_evidence({**item.features, "strength": float(found), "lead": float(found), "coverage": 0.1})
        for item, found in zip(evidence, right, strict=True)
    ]
    calibration = fit_calibration(verified, errors, everywhere(200))
    probabilities, _ = calibration.judge(verified)
    assert ((probabilities > 0.5) == right).mean() > 0.99
    plain = replace(calibration, verified=None)
    np.testing.assert_array_equal(calibration.judge(evidence)[0], plain.judge(evidence)[0])
    np.testing.assert_array_equal(plain.judge(verified)[0], plain.judge(evidence)[0])  # fitted without verification


def test_too_few_queries_are_refused() -> None:
    with pytest.raises(ProgeoError, match="19 queries are too few .* at least 20 are needed.*Nothing is stored"):
        check_enough(19)
    evidence, errors, _ = draw_queries(20)
    for count in range(20, 21):
        cross_validate(evidence[:count], errors[:count], everywhere(count))
    with pytest.raises(ProgeoError, match="19 queries"):
        fit_calibration(evidence[:19], errors[:19], everywhere(19))


def test_calibrations_become_json_and_back() -> None:
    evidence, errors, _ = draw_queries(50)
    calibration = fit_calibration(evidence, errors, np.arange(50) < 30)
    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict()))) == calibration


def test_calibrations_of_before_are_read() -> None:
    content = {
        **{"mean": [0.5, 0.1, 3.0], "scale": [0.1, 0.1, 1.0], "coefficients": [-1.0, 2.0, 0.0], "intercept": 0.25},
        **{"radius_factor": 1.5, "queries": 40},
    }
    calibration = Calibration.from_dict(content)
    expected = Judge(["best", "gap", "spread"], [0.5, 0.1, 3.0], [0.1, 0.1, 1.0], [-1.0, 2.0, 0.0], 0.25)
    assert (calibration.right, calibration.present, calibration.verified) == (expected, None, None)
    assert (calibration.source, calibration.holds, calibration.queries) == ("queries", 0.9, 40)


def test_calibration_error() -> None:
    right = np.array([True, True, True, False])
    assert measure_calibration_error(np.full(4, 0.75), right) == pytest.approx(0)
    assert measure_calibration_error(np.ones(4), right) == pytest.approx(0.25)
    # Two bins, each off by its own way.
    assert measure_calibration_error(np.array([0.95, 0.95, 0.35, 0.35]), right) == pytest.approx(
        (0.1 + abs(2 * 0.35 - 1)) / 4
    )
