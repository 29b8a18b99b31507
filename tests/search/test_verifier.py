"""The reranker that compares points: what it proves, and what it leaves as it was."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cv2")

from progeo.search.evidence import Worth, Yardstick, choose_sample, find_wrong_pairs, fuse
from progeo.search.explanation import MOST_SHOWN, Explanation, choose_strongest, describe_points, spread
from progeo.search.keypoints import Keypoints, PointMatches
from progeo.search.matching import Method, Pixels, SiftMethod
from progeo.search.verifier import Verifier
from tests.textures import make_texture

DISTANCES = np.array([0.5, 0.51, 0.52, 0.53], dtype=np.float32)


WORTH = Worth(weight=1.5, lowest=0.0, highest=1.0)


def make_yardstick() -> Yardstick:
    yardstick = Yardstick.learn(np.random.default_rng(0).poisson(8, 400))
    assert yardstick is not None
    return yardstick


def fuse_one(inliers: list[int], yardstick: Yardstick | None) -> list[int]:
    counts = np.array([inliers])
    return fuse(DISTANCES, counts, counts / 100, [yardstick], [WORTH]).order.tolist()


def test_what_wrong_pairs_reach_too_changes_little_and_what_they_never_reach_comes_first() -> None:
    yardstick = make_yardstick()
    assert 14 <= yardstick.floor <= 20
    assert fuse_one([8, 7, 60, 9], yardstick)[0] == 2
    assert fuse_one([0, 0, 0, 0], yardstick) == [0, 1, 2, 3]
    assert fuse_one([100, 500, 100, 100], yardstick) == [0, 1, 2, 3]  # more than the highest prove no more


def test_without_wrong_pairs_the_descriptors_decide() -> None:
    assert Yardstick.learn(np.arange(5)) is None
    assert fuse_one([0, 0, 200, 0], None) == [0, 1, 2, 3]
    found = fuse(DISTANCES, np.array([[0, 0, 200, 0]]), np.zeros((1, 4)), [None], [WORTH])
    assert found.inliers.tolist() == [0, 0, 200, 0] and np.isnan(found.strength).all()


def test_what_is_said_is_in_the_order_of_the_descriptors_and_distances_rise_with_the_order() -> None:
    yardstick = make_yardstick()
    counts = np.array([[3, 40, 0, 90], [5, 6, 7, 8]])
    found = fuse(DISTANCES, counts, counts / 100, [yardstick, yardstick], [WORTH, WORTH])
    assert found.inliers.tolist() == [5, 40, 7, 90]
    np.testing.assert_allclose(found.strength, found.inliers / yardstick.floor)
    np.testing.assert_allclose(found.coverage, found.inliers / 100)
    assert (np.diff(found.distances[found.order]) >= 0).all() and found.distances.min() == 0


PHOTOS = {f"{number}.jpg": make_texture(number) for number in range(5)}


def keypoints_of(method: Method, path: str) -> Keypoints | None:
    return method.extract(PHOTOS[path]) if path in PHOTOS else None


def make_verifier(candidates: int = 20, num_workers: int = 0) -> Verifier:
    verifier = Verifier([SiftMethod()], keypoints_of, candidates=candidates, num_workers=num_workers)
    verifier.yardsticks["sift"] = make_yardstick()
    return verifier


def query() -> Pixels:
    return make_texture(3)[:, 20:]


@pytest.mark.parametrize("num_workers", [0, 3])
def test_the_photo_that_agrees_comes_first(num_workers: int) -> None:
    verifier = make_verifier(num_workers=num_workers)
    paths = ["0.jpg", "gone.jpg", "2.jpg", "3.jpg"]
    found = verifier(query, paths, DISTANCES)
    assert found.order.tolist() == [3, 0, 1, 2]
    assert found.inliers[3] > 30 > found.inliers[0]
    assert verifier.skipped == {"gone.jpg"} and found.inliers[1] == 0


def test_candidates_behind_those_compared_keep_their_places() -> None:
    verifier = make_verifier(candidates=2)
    found = verifier(query, ["0.jpg", "1.jpg", "2.jpg", "3.jpg"], DISTANCES)
    assert found.inliers[2:].tolist() == [0, 0]
    assert found.order.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "pixels", [np.zeros((64, 64, 3), np.uint8), make_texture(0)[:32, :32]], ids=["black", "32 x 32"]
)
def test_poor_queries_get_an_answer(pixels: Pixels) -> None:
    found = make_verifier()(lambda: pixels, list(PHOTOS)[:4], DISTANCES)
    assert sorted(found.order) == [0, 1, 2, 3]


def test_wrong_pairs_look_alike_and_lie_far_apart() -> None:
    positions = np.array([0.0, 10, 20, 500, 510, 900])
    found = np.array([[0, 1, 2, 4, 3, 5], [5, 4, 3, 2, 1, 0]])
    pairs = find_wrong_pairs(np.array([0, 5]), found, lambda row, others: abs(positions[others] - positions[row]) > 50)
    assert pairs.tolist() == [[0, 4], [0, 3], [5, 4], [5, 3]]
    sample = choose_sample(1000)
    assert len(sample) == 300 and (np.diff(sample) > 0).all()
    np.testing.assert_array_equal(choose_sample(7), np.arange(7))


def test_learning_leaves_out_what_cannot_be_read() -> None:
    verifier = make_verifier()
    pairs = [("0.jpg", "1.jpg")] * 25 + [("gone.jpg", "1.jpg"), ("1.jpg", "gone.jpg")]
    told: list[int] = []
    verifier.learn(pairs, lambda: told.append(1))
    yardstick = verifier.yardsticks["sift"]
    assert yardstick is not None and yardstick.pairs == 25
    assert len(told) == 27


def test_points_of_a_match_lie_where_they_are_in_both_photos() -> None:
    found = make_verifier().explain(query, ["3.jpg", "0.jpg", "gone.jpg"])
    strong, weak, gone = found
    assert strong.strength > 1 > weak.strength >= gone.strength == 0
    # The query is the photo without its 20 leftmost of 160 columns.
    moved = (strong.points.query[:, 0] * 140 + 20) / 160
    np.testing.assert_allclose(moved, strong.points.candidate[:, 0], atol=0.02)
    shown = strong.to_dict()
    assert 8 < len(shown["query"]) == len(shown["match"]) <= MOST_SHOWN
    assert shown["text"].startswith(f"{len(strong.points)} details fit together; ")


def test_the_method_that_says_most_explains() -> None:
    def explain(count: int, floor: float | None) -> Explanation:
        points = np.zeros((count, 2), np.float32)
        return Explanation(PointMatches(points, points), floor)

    few_but_sure, many = explain(20, 5), explain(100, 90)
    assert choose_strongest([many, few_but_sure]) is few_but_sure
    unknown = explain(3, None), explain(9, None)
    assert choose_strongest(unknown) is unknown[1]


def test_what_points_prove_is_said_in_words() -> None:
    assert "hardly ever share 15" in describe_points(143, 15)
    assert "proves little" in describe_points(9, 15) and "up to 15" in describe_points(9, 15)
    assert "not known" in describe_points(1, None) and describe_points(1, None).startswith("1 detail fits")
    assert "alike only as a whole" in describe_points(0, 15)


def test_points_that_are_shown_lie_apart() -> None:
    points = np.array([[0, 0], [0.01, 0], [1, 1], [0.99, 1], [1, 0]], np.float32)
    assert spread(points, 3).tolist() == [0, 2, 4]
    assert spread(points, 9).tolist()[0] == 0 and sorted(spread(points, 9)) == [0, 1, 2, 3, 4]
    assert spread(points[:0], 3).tolist() == []
