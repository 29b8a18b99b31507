"""Learning how sure estimates are."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from progeo.errors import ProgeoError
from progeo.locating.calibration import (
    Calibration,
    Floats,
    cross_validate,
    fit_calibration,
    measure_calibration_error,
)


def draw_queries(count: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Features, errors, radii, and the probabilities that the errors were drawn by."""
    generator = np.random.default_rng(0)
    features = generator.normal([0.8, 0.05, 3.0], [0.2, 0.04, 1.0], (count, 3))
    scores = -6 * (features[:, 0] - 0.8) + 30 * (features[:, 1] - 0.05) - 0.5 * (features[:, 2] - 3)
    truth = 1 / (1 + np.exp(-scores))
    right = generator.uniform(size=count) < truth
    errors = np.where(right, generator.uniform(0, 20, count), 500.0)
    return features, errors, np.full(count, 10.0), truth


def test_the_probabilities_that_queries_were_drawn_by_are_found() -> None:
    features, errors, radii, truth = draw_queries(4000)
    calibration = fit_calibration(features, errors, radii, 25)
    assert np.abs(calibration.predict(features) - truth).max() < 0.06
    assert calibration.queries == 4000
    assert calibration.radius_factor == pytest.approx(1.8, abs=0.05)  # 9 of 10 errors below 18 m, radii of 10 m


def test_queries_that_were_not_learned_from_are_judged_as_well() -> None:
    features, errors, radii, truth = draw_queries(1000)
    probabilities = cross_validate(features, errors, radii, 25)
    assert np.abs(probabilities - truth).mean() < 0.05
    assert measure_calibration_error(probabilities, errors <= 25) < 0.05


@pytest.mark.parametrize("error", [3.0, 300.0])
def test_queries_that_are_all_right_or_all_wrong_leave_some_doubt(error: float) -> None:
    features, _, radii, _ = draw_queries(100)
    calibration = fit_calibration(features, np.full(100, error), radii, 25)
    probabilities = calibration.predict(features)
    assert ((probabilities > 0) & (probabilities < 1)).all()
    assert (probabilities > 0.5).all() == (error <= 25)
    assert np.isfinite(calibration.radius_factor)


def test_features_that_never_vary_do_no_harm() -> None:
    features, errors, radii, _ = draw_queries(100)
    features[:, 2] = 1.6
    assert np.isfinite(fit_calibration(features, errors, radii, 25).predict(features)).all()


def test_too_few_queries_are_refused() -> None:
    features, errors, radii, _ = draw_queries(19)
    with pytest.raises(ProgeoError, match="19 queries are too few .* at least 20 are needed"):
        fit_calibration(features, errors, radii, 25)


def test_calibrations_become_json_and_back() -> None:
    features, errors, radii, _ = draw_queries(50)
    calibration = fit_calibration(features, errors, radii, 25)
    assert Calibration(**json.loads(json.dumps(asdict(calibration)))) == calibration


def test_calibration_error() -> None:
    right = np.array([True, True, True, False])
    assert measure_calibration_error(np.full(4, 0.75), right) == pytest.approx(0)
    assert measure_calibration_error(np.ones(4), right) == pytest.approx(0.25)
    # Two bins, each off by its own way.
    assert measure_calibration_error(np.array([0.95, 0.95, 0.35, 0.35]), right) == pytest.approx(
        (0.1 + abs(2 * 0.35 - 1)) / 4
    )
