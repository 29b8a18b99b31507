"""Calibration without labelled queries: from the database's own photos, or the default of other towns."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from progeo.locating.default import (
    FEWEST_PLACES,
    MOST_TAKEN_FOR_KNOWN,
    Defaults,
    Examples,
    calibrate_by_itself,
    load_defaults,
)
from progeo.locating.evidence import Evidence

from .evidence import make_evidence


def draw(count: int, best: float, gap: float, seed: int = 0) -> list[Evidence]:
    generator = np.random.default_rng(seed)
    gaps = gap + generator.normal(0, 0.02, count)
    spans, agreements = 0.1 + gap + generator.normal(0, 0.04, count), 0.4 + 2 * gap + generator.normal(0, 0.1, count)
    bests = best + generator.normal(0, 0.05, count)
    return [
        make_evidence({"best": looks, "relative_gap": relative, "span": span, "agreement": agreement})
        for looks, relative, span, agreement in zip(bests, gaps, spans, agreements, strict=True)
    ]


def make_examples(places: int = 50, inside: int = 50, found: int = 40, unit: float = 1.0) -> Examples:
    errors = np.where(np.arange(inside) < found, 0.0, 500.0)
    outside = [make_evidence({**item.features, "best": unit * item.features["best"]}) for item in draw(60, 1.0, 0.02)]
    return Examples(places, outside, draw(inside, 0.8, 0.1), errors)


def test_wrong_looks_are_learned_from_the_database() -> None:
    calibration = calibrate_by_itself(make_examples(), photos=100)
    assert (calibration.source, calibration.photos, calibration.queries) == ("database", 100, 110)
    near, same, far = (calibration.judge(draw(20, best, gap)) for best, gap in ((0.7, 0.2), (1.0, 0.02), (1.6, 0.02)))
    assert near[0].min() > 0.5
    assert near[0].min() > same[0].max() > far[0].max()
    assert far[0].max() < 0.1
    assert near[1] is not None and far[1] is not None
    assert near[1].min() > 0.9 and far[1].max() < 0.1


def test_units_are_those_of_the_database() -> None:
    """Descriptors of any length are judged alike."""
    small, large = (calibrate_by_itself(make_examples(unit=unit), photos=100) for unit in (1.0, 50.0))
    queries = draw(20, 0.8, 0.1)
    stretched = [make_evidence({**item.features, "best": 50 * item.features["best"]}) for item in queries]
    np.testing.assert_allclose(small.judge(queries)[0], large.judge(stretched)[0], rtol=1e-6)


def test_photos_that_are_found_again_give_confidence() -> None:
    queries = draw(20, 1.0, 0.05)
    shares = [
        calibrate_by_itself(make_examples(inside=inside, found=found), photos=100).judge(queries)[0].mean()
        for inside, found in ((50, 0), (50, 10), (50, 50))
    ]
    assert shares == sorted(shares)
    nothing = calibrate_by_itself(make_examples(inside=0, found=0), photos=100)
    assert shares[0] < nothing.judge(queries)[0].mean() < shares[2]
    assert "too few places have photos beside each other" in " ".join(nothing.notes)


def test_where_all_places_look_alike_most_are_not_taken_for_known() -> None:
    alike = Examples(50, draw(60, 0.8, 0.2), draw(50, 0.8, 0.2, seed=1), np.zeros(50))
    calibration = calibrate_by_itself(alike, photos=100)
    assert (calibration.right.judge(alike.outside) > 0.5).mean() <= MOST_TAKEN_FOR_KNOWN


def test_too_few_places_take_the_default() -> None:
    calibration = calibrate_by_itself(make_examples(places=FEWEST_PLACES - 1), photos=100)
    assert calibration.source == "default"
    assert calibration.right.features == load_defaults().alone.features
    fitted = calibrate_by_itself(make_examples(places=1), photos=100, head="vlad")
    assert fitted.right.scale[1] < calibration.right.scale[1]  # distances of a vocabulary differ less
    other = calibrate_by_itself(make_examples(places=1), photos=100, head="mixvpr")
    assert other.right == calibration.right
    assert f"{FEWEST_PLACES - 1} places are too few to learn from: {FEWEST_PLACES} are needed" in calibration.notes[0]
    assert "fitted by benchmarks/locating.py" in calibration.notes[0]


def test_the_default_is_cautious_where_it_knows_nothing() -> None:
    """A query that all photos look like equally is of no place."""
    calibration = calibrate_by_itself(Examples(0, [], [], np.empty(0)), photos=1)
    flat = make_evidence({"relative_gap": 0.0, "span": 0.0, "agreement": 1.0})
    assert calibration.judge([flat])[0][0] < 0.5


@pytest.mark.parametrize(
    "verification", [{}, {"strength": 0.5, "lead": 0.1, "coverage": 0.7}], ids=["plain", "verified"]
)
def test_the_default_takes_few_photos_to_show_the_database(verification: dict[str, float]) -> None:
    """The odds are a third of those of the examples, of which half show it."""
    calibration, defaults = calibrate_by_itself(make_examples(places=1), photos=100), load_defaults()
    query = make_evidence({**draw(1, 0.9, 0.1)[0].features, **verification})
    learned = defaults.alone_verified if verification else defaults.alone
    units = defaults.units["gem"]
    features = [
        (query.features[name] - units.get(name, (0, 1))[0]) / units.get(name, (0, 1))[1] for name in learned.features
    ]
    before = learned.predict(np.array(features))
    judge = calibration.verified if verification else calibration.right
    assert judge is not None
    after = judge.judge([query])[0]
    assert after / (1 - after) == pytest.approx(before / (1 - before) / 3)


@pytest.mark.parametrize("places", [1, 50])
def test_points_that_agree_give_confidence_and_points_that_do_not_take_it(places: int) -> None:
    calibration = calibrate_by_itself(make_examples(places=places), photos=100)
    (query,) = draw(1, 0.9, 0.1)
    none, some, many = (
        calibration.judge(
            [make_evidence({**query.features, "strength": strength, "lead": strength / 2, "coverage": strength / 3})]
        )
        for strength in (0.0, 0.4, 1.2)
    )
    assert none[0][0] < some[0][0] < many[0][0]
    assert none[1] is not None and many[1] is not None and none[1][0] < many[1][0]


def test_defaults_are_data_with_their_origin() -> None:
    defaults = load_defaults()
    assert Defaults.from_dict(json.loads(json.dumps(asdict(defaults)))) == defaults
    assert 0 < defaults.radius_factor < 2
    assert "on real photos" in defaults.origin
