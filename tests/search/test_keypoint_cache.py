"""The cache of keypoints: nothing is made twice, nothing stale is given, and it stays within its bounds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from progeo.search.evidence import Worth
from progeo.search.keypoint_cache import KeypointCache, identify_file
from progeo.search.keypoints import Keypoints


class Counting:
    """A method that counts how often it is asked."""

    name = key = "counting"
    worth = Worth(1.0, 0.0, 1.0)

    def __init__(self) -> None:
        self.made = 0

    def make(self) -> Keypoints:
        self.made += 1
        descriptors = np.full((100, 4), self.made, np.float16)
        return Keypoints(np.zeros((100, 2), np.float32), descriptors, np.ones(2, np.float32))


def ask(cache: KeypointCache, method: Any, photo: str) -> float:
    return float(cache.get(method, photo, method.make).descriptors[0, 0])


def test_keypoints_are_made_once_for_all_who_share_a_folder(tmp_path: Path) -> None:
    method = Counting()
    cache = KeypointCache(tmp_path)
    assert [ask(cache, method, photo) for photo in ("a", "b", "a")] == [1, 2, 1]
    assert ask(KeypointCache(tmp_path), method, "b") == 2
    assert method.made == 2
    assert ask(KeypointCache(), method, "b") == 3  # in memory alone


def test_a_changed_photo_and_another_method_have_their_own(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"one")
    method, cache = Counting(), KeypointCache(tmp_path)
    first = identify_file(str(photo))
    photo.write_bytes(b"another")
    assert ask(cache, method, first) != ask(cache, method, identify_file(str(photo)))
    other = Counting()
    other.key = "other"
    assert ask(cache, other, first) == 1 and other.made == 1


def test_damaged_files_are_made_again(tmp_path: Path) -> None:
    method = Counting()
    ask(KeypointCache(tmp_path), method, "a")
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:50])
    assert ask(KeypointCache(tmp_path), method, "a") == 2
    assert ask(KeypointCache(tmp_path), method, "a") == 2


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    method = Counting()
    size = len(method.make().to_bytes())
    cache = KeypointCache(tmp_path, most_bytes=5 * size, most_bytes_in_memory=0)
    for number in range(5):
        ask(cache, method, str(number))
    for age, path in enumerate(sorted(tmp_path.rglob("*.safetensors"), key=lambda path: path.stat().st_mtime_ns)):
        os.utime(path, (age, age))
    ask(cache, method, "0")  # used now
    ask(cache, method, "5")
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors")) <= 4 * size
    made = method.made
    ask(cache, method, "0")
    assert method.made == made
    ask(cache, method, "1")
    assert method.made == made + 1


def test_a_folder_that_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "keypoints").write_text("a file")
    method, cache = Counting(), KeypointCache(tmp_path)
    assert [ask(cache, method, photo) for photo in "aba"] == [1, 2, 1]
    assert len([record for record in caplog.records if "not kept" in record.message]) == 1
