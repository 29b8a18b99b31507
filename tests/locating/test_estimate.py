"""The vote: what agrees in space wins, and what is said about it."""

from __future__ import annotations

import json
from datetime import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from progeo.data.sphere import EARTH_RADIUS, measure_distances, to_points
from progeo.errors import ProgeoError
from progeo.locating.calibration import Calibration, Judge
from progeo.locating.estimate import MIN_CONFIDENCE, Estimate, choose_threshold, make_estimate
from progeo.locating.evidence import RIGHT_WITHIN, SOFTENING, USUAL_ERROR, weigh_evidence, weigh_matches

HERE = (45.4432, 9.2179)
METRE = float(np.degrees(1 / EARTH_RADIUS))


def matches_at(north: list[float], distances: list[float]) -> pl.DataFrame:
    """Matches so many metres north of HERE, with these descriptor distances."""
    count = len(north)
    return pl.DataFrame(
        {
            "id": [f"{number:032x}" for number in range(count)],
            "path": [f"{number}.jpg" for number in range(count)],
            "latitude": [HERE[0] + METRE * metres for metres in north],
            "longitude": [HERE[1]] * count,
            "heading": pl.Series([None] * count, dtype=pl.Float64),
            "timestamp": pl.Series([datetime(2024, 5, 31, 12)] * count),
            "descriptor_distance": distances,
        }
    )


def make_calibration(probability: float, presence: float = 1.0, radius_factor: float = 1.0) -> Calibration:
    """One that says the same of all."""
    right, present = (Judge([], [], [], [], float(np.log(p / (1 - p)))) for p in (probability, min(presence, 1 - 1e-9)))
    return Calibration(right, present, radius_factor, queries=100)


def estimate(
    matches: pl.DataFrame,
    calibration: Calibration | None = None,
    threshold: float | None = None,
    even_unknown: bool = True,
) -> Estimate:
    return make_estimate(matches, weigh_evidence(matches), calibration, threshold, even_unknown)


def north_of_here(result: Estimate) -> float:
    assert result.latitude is not None
    return (result.latitude - HERE[0]) / METRE


def test_the_heading_is_that_of_the_photo_whose_position_it_is() -> None:
    matches = matches_at([400.0, 0.0, 3.0], [0.5, 0.5, 0.51]).with_columns(heading=pl.Series([90.0, 350.0, 10.0]))
    assert estimate(matches).heading == 350
    assert estimate(matches, make_calibration(0.1), 0.5, even_unknown=False).heading is None
    assert estimate(matches_at([0.0], [0.4])).heading is None


def test_a_single_match_is_the_estimate() -> None:
    result = estimate(matches_at([0.0], [0.4]))
    assert (result.latitude, result.longitude) == pytest.approx(HERE, abs=1e-9)
    assert result.radius_metres is None  # nobody knows how far off it is
    assert [match.weight for match in result.matches] == [1.0]


def test_matches_that_agree_outvote_a_first_one_that_stands_alone() -> None:
    result = estimate(matches_at([900.0, 0.0, 4.0, -4.0, 2.0, 5000.0], [0.50, 0.51, 0.52, 0.52, 0.53, 0.80]))
    assert north_of_here(result) == pytest.approx(0, abs=0.1)  # the most similar one of those that agree
    assert result.matches[0].distance_metres == pytest.approx(900, abs=2)  # still listed first, by its looks
    assert result.agreement > 0.6


def test_a_first_match_that_is_far_better_wins_alone() -> None:
    result = estimate(matches_at([900.0, 0.0, 4.0, -4.0, 2.0, 5000.0], [0.20, 0.51, 0.52, 0.52, 0.53, 0.80]))
    assert north_of_here(result) == pytest.approx(900, abs=0.1)


def test_the_spread_of_the_matches_is_the_radius() -> None:
    one, wide = (
        weigh_evidence(matches_at([-metres, metres, -metres, metres], [0.5, 0.5, 0.5, 0.5])) for metres in (0.0, 10.0)
    )
    assert one.radius == pytest.approx(USUAL_ERROR)
    assert wide.radius == pytest.approx(np.hypot(USUAL_ERROR, 20 / np.sqrt(2)), abs=0.1)  # half are at the estimate


def test_a_point_that_is_known_is_kept() -> None:
    matches = matches_at([900.0, 0.0, 4.0], [0.5, 0.9, 0.95])
    for latitude, agrees in ((HERE[0] + 3 * METRE, True), (HERE[0] + 0.1, False)):
        point = to_points(np.array(latitude), np.array(HERE[1]))
        evidence = weigh_evidence(matches, point)
        assert measure_distances(evidence.point, point) == 0
        assert (evidence.agreement > 0) == agrees


def test_features_speak_of_looks_gap_and_spread() -> None:
    features = weigh_evidence(matches_at([0.0, 5.0, 200.0], [0.4, 0.5, 0.7])).features
    assert (features["best"], features["gap"]) == pytest.approx((0.4, 0.3))
    assert (features["relative_gap"], features["span"]) == pytest.approx((3 / 7, 3 / 7))
    assert features["spread"] == pytest.approx(np.log(SOFTENING), abs=1.5)
    assert weigh_evidence(matches_at([0.0, 5.0], [0.4, 0.5])).features["gap"] == pytest.approx(0.1)


def test_verified_matches_weigh_and_speak() -> None:
    matches = matches_at([900.0, 0.0, 4.0], [0.5, 0.52, 0.54])
    assert "strength" not in weigh_evidence(matches).features
    verified = matches.with_columns(
        verified_distance=pl.Series([0.5, 0.2, 0.54]),
        strength=pl.Series([0.5, 3.0, 0.0]),
        coverage=pl.Series([0.1, 0.6, 0.0]),
    )[[1, 0, 2]]
    evidence = weigh_evidence(verified)
    assert evidence.distances[0] == 0 and evidence.weights[0] > 0.9
    assert evidence.features["strength"] == pytest.approx(np.log(4))
    assert evidence.features["lead"] == pytest.approx(np.log(4 / 1.5))
    assert evidence.features["coverage"] == 0.6


@given(
    st.lists(st.tuples(st.floats(-3000, 3000), st.floats(0.1, 1.5)), min_size=1, max_size=20),
)
def test_votes_add_up_and_the_estimate_stays_near_a_match(found: list[tuple[float, float]]) -> None:
    north, distances = zip(*sorted(found, key=lambda match: match[1]), strict=True)
    result = estimate(matches_at(list(north), list(distances)))
    assert sum(match.weight for match in result.matches) == pytest.approx(1)
    assert 0 <= result.agreement <= 1
    assert min(match.distance_metres for match in result.matches) <= RIGHT_WITHIN
    assert min(north) - 1e-3 <= north_of_here(result) <= max(north) + 1e-3


@given(st.floats(0.1, 10), st.floats(0, 3))
def test_weights_do_not_depend_on_the_scale_of_the_descriptors(scale: float, offset: float) -> None:
    distances = np.array([0.3, 0.35, 0.6, 0.9])
    np.testing.assert_allclose(weigh_matches(scale * distances + offset), weigh_matches(distances), rtol=1e-6)


def test_an_order_that_is_not_that_of_the_distances() -> None:
    np.testing.assert_allclose(weigh_matches(np.array([1.0, 0.9, 0.5])), 1 / 3)
    weights = weigh_matches(np.array([0.5, 1.0, 0.9, 1.2]))
    assert weights[0] > weights[1] == weights[2] > weights[3]
    evidence = weigh_evidence(matches_at([0.0, 5.0, 10.0], [0.9, 0.7, 0.5]))
    assert (evidence.features["best"], evidence.features["gap"]) == pytest.approx((0.5, 0.4))


def test_estimates_become_json() -> None:
    content = json.loads(json.dumps(estimate(matches_at([0.0, 3.0], [0.4, 0.5])).to_dict()))
    assert (content["probability"], content["known"], content["calibrated"]) == (None, None, False)
    assert content["agreement"] == pytest.approx(1)
    assert content["matches"][1]["timestamp"] == "2024-05-31T12:00:00"
    assert content["matches"][0]["heading"] is None


def test_calibration_decides_probability_radius_and_what_is_known() -> None:
    calibration = make_calibration(0.75, radius_factor=0.8)
    result = estimate(matches_at([0.0], [0.4]), calibration, threshold=0.8)
    assert result.probability == pytest.approx(0.75)
    assert (result.calibrated, result.calibration, result.known) == (True, "queries", False)
    assert result.radius_metres == pytest.approx(0.8 * USUAL_ERROR)
    elsewhere = estimate(matches_at([0.0], [0.4]), make_calibration(0.75, presence=0.2), threshold=0.5)
    assert (elsewhere.probability, elsewhere.presence) == (pytest.approx(0.2), pytest.approx(0.2))
    assert elsewhere.known is False


def test_positions_are_told_of_known_places_only() -> None:
    matches = matches_at([0.0, 3.0], [0.4, 0.5])
    for calibration, threshold in ((None, None), (make_calibration(0.4), 0.5)):
        hidden = estimate(matches, calibration, threshold, even_unknown=False)
        assert (hidden.latitude, hidden.longitude, hidden.radius_metres) == (None, None, None)
        assert hidden.known is not True
        assert len(hidden.matches) == 2
        shown = estimate(matches, calibration, threshold)
        assert (shown.latitude, shown.longitude) == pytest.approx(HERE, abs=1e-9)
        assert (shown.radius_metres is None) == (calibration is None)
    assert estimate(matches, make_calibration(0.6), 0.5, even_unknown=False).latitude is not None


def test_a_confidence_is_asked_only_of_what_is_calibrated() -> None:
    calibration = make_calibration(0.5)
    assert choose_threshold(calibration, None) == MIN_CONFIDENCE
    assert choose_threshold(calibration, 0.9) == 0.9
    assert choose_threshold(None, None) is None
    with pytest.raises(ProgeoError, match="`min_confidence` 0.9 .* calibrated.* `even_unknown`"):
        choose_threshold(None, 0.9)
    with pytest.raises(ProgeoError, match="from 0 to 1, not 90"):
        choose_threshold(calibration, 90)
