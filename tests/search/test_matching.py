"""Comparing two photos point by point: what agrees, and photos on which nothing can."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("cv2")

from progeo.search.keypoints import DamagedKeypointsError, Keypoints
from progeo.search.matching import DenseMethod, Pixels, SiftMethod, keep_agreeing
from tests.textures import make_texture


def describe_by_blocks(pixels: Pixels) -> np.ndarray:
    """A grid of features: the 8 x 8 pixels of each block, less their mean."""
    height, width = (side // 8 for side in pixels.shape[:2])
    blocks = pixels[: 8 * height, : 8 * width, 0].reshape(height, 8, width, 8).transpose(0, 2, 1, 3)
    features = blocks.reshape(height, width, 64).astype(np.float32)
    return np.asarray(features - features.mean(axis=2, keepdims=True))


METHODS: dict[str, Callable[[], DenseMethod | SiftMethod]] = {
    "sift": SiftMethod,
    "dense": lambda: DenseMethod(describe_by_blocks, "blocks"),
}


@pytest.mark.parametrize("name", METHODS)
def test_the_same_place_agrees_in_more_points_than_another(name: str) -> None:
    method = METHODS[name]()
    whole = make_texture(0, 160, 240)
    query, same, other = (
        method.extract(pixels) for pixels in (whole[:, :200], whole[:, 40:], make_texture(1, 160, 200))
    )
    right, wrong = method.match(query, same), method.match(query, other)
    assert len(right) > 30 and len(right) > 2 * len(wrong)
    assert 0.3 < right.coverage <= 1
    # Both are shares of the photos' sizes: 40 of 200 pixels farther to the left.
    np.testing.assert_allclose(np.median(right.query - right.candidate, axis=0), [0.2, 0], atol=0.02)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("photo", ["black", "white", "tiny", "stripes"])
def test_photos_without_points_to_compare_match_nothing_much(name: str, photo: str) -> None:
    pixels = {
        "black": np.zeros((64, 96, 3), np.uint8),
        "white": np.full((64, 96, 3), 255, np.uint8),
        "tiny": make_texture(0)[:9, :9],
        "stripes": np.tile(np.uint8([[[0]], [[255]]]), (32, 96, 3)),
    }[photo]
    method = METHODS[name]()
    keypoints, other = method.extract(pixels), method.extract(make_texture(2))
    assert len(keypoints) == len(keypoints.descriptors)
    for found in (method.match(keypoints, other), method.match(other, keypoints), method.match(keypoints, keypoints)):
        assert len(found.query) == len(found.candidate) and 0 <= found.coverage <= 1
    assert len(method.match(keypoints, other)) < 10


def test_points_on_one_line_are_no_error() -> None:
    points = np.stack([np.arange(20), np.zeros(20)], axis=1).astype(np.float32)
    photo = Keypoints(points, np.zeros((20, 4), np.float16), np.float32([20, 20]))
    pairs = np.stack([np.arange(20)] * 2, axis=1)
    for homography in (True, False):
        assert len(keep_agreeing(photo, photo, pairs, homography=homography, within=1.0)) <= 20


@pytest.mark.parametrize("name", METHODS)
def test_the_answer_does_not_depend_on_threads(name: str) -> None:
    method = METHODS[name]()
    photos = [method.extract(make_texture(seed)) for seed in range(6)]
    pairs = [(a, b) for a in range(6) for b in range(6)]

    def match(pair: tuple[int, int]) -> list[float]:
        found = method.match(photos[pair[0]], photos[pair[1]])
        return [*found.query.ravel().tolist(), *found.candidate.ravel().tolist()]

    alone = [match(pair) for pair in pairs]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(match, pairs[::-1])) == alone[::-1]


def test_keypoints_are_the_strongest_first_and_survive_the_disk() -> None:
    keypoints = SiftMethod().extract(make_texture(3))
    few = keypoints.first(5)
    assert len(few) == 5 and keypoints.first(None) is keypoints
    copy = Keypoints.from_bytes(few.to_bytes())
    np.testing.assert_array_equal(copy.points, keypoints.points[:5])
    np.testing.assert_array_equal(copy.descriptors, keypoints.descriptors[:5])
    for content in (b"", few.to_bytes()[:-3], b"x" * 100):
        with pytest.raises(DamagedKeypointsError):
            Keypoints.from_bytes(content)
