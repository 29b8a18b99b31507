from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from progeo.serve.batching import Batcher, Busy, Descriptors, Pixels


def describe(images: list[Pixels]) -> Descriptors:
    return np.array([[float(image)] for image in images], dtype=np.float32)


def images_of(*values: int) -> list[Pixels]:
    return [np.array(value) for value in values]


@contextmanager
def batcher_of(
    describe: Callable[[list[Pixels]], Descriptors], *, batch_size: int = 4, max_waiting: int = 8
) -> Iterator[Batcher]:
    batcher = Batcher(describe, batch_size=batch_size, max_waiting=max_waiting)
    yield batcher
    batcher.close()


class Gate:
    """A model that waits to be let through, and notes its batches."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.entered = threading.Event()
        self.opened = threading.Event()

    def describe(self, images: list[Pixels]) -> Descriptors:
        self.batches.append([float(image) for image in images])
        self.entered.set()
        assert self.opened.wait(10)
        return describe(images)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=20), st.integers(1, 8))
def test_everyone_gets_the_descriptors_of_their_own_images(counts: list[int], batch_size: int) -> None:
    with batcher_of(describe, batch_size=batch_size) as batcher:
        requests = [[100 * request + image for image in range(count)] for request, count in enumerate(counts)]
        answers = [batcher.submit(images_of(*request)) for request in requests]
        assert [answer.result(10)[:, 0].tolist() for answer in answers] == requests


def test_requests_gather_while_the_model_works() -> None:
    gate = Gate()
    with batcher_of(gate.describe) as batcher:
        answers = [batcher.submit(images_of(0))]
        assert gate.entered.wait(10)
        answers += [batcher.submit(images_of(value, value)) for value in (1, 2, 3)]
        gate.opened.set()
        assert [answer.result(10)[0, 0] for answer in answers] == [0, 1, 2, 3]
    assert gate.batches == [[0], [1, 1, 2, 2], [3, 3]]


def test_small_requests_pass_large_ones_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    with batcher_of(gate.describe, batch_size=1) as batcher:
        answers = [batcher.submit(images_of(0))]
        assert gate.entered.wait(10)
        answers += [batcher.submit(images_of(*values)) for values in ((1, 1, 1), (2, 2), (3,))]
        gate.opened.set()
        for answer in answers:
            answer.result(10)
        assert gate.batches == [[0], [3], [2, 2], [1, 1, 1]]
        monkeypatch.setattr("progeo.serve.batching.LONGEST_WAIT", 0.0)
        gate.entered.clear(), gate.opened.clear(), gate.batches.clear()
        answers = [batcher.submit(images_of(0))]
        assert gate.entered.wait(10)
        answers += [batcher.submit(images_of(*values)) for values in ((1, 1), (2,))]
        gate.opened.set()
        for answer in answers:
            answer.result(10)
        assert gate.batches == [[0], [1, 1], [2]]


def test_what_was_cancelled_is_not_described() -> None:
    gate = Gate()
    with batcher_of(gate.describe) as batcher:
        first = batcher.submit(images_of(0))
        assert gate.entered.wait(10)
        assert batcher.submit(images_of(1)).cancel()
        last = batcher.submit(images_of(2))
        gate.opened.set()
        assert (first.result(10)[0, 0], last.result(10)[0, 0]) == (0, 2)
    assert gate.batches == [[0], [2]]


def test_an_error_reaches_only_whoever_caused_it() -> None:
    gate = Gate()

    def describe_or_fail(images: list[Pixels]) -> Descriptors:
        descriptors = gate.describe(images)
        if any(image == 13 for image in images):
            raise ValueError("unlucky")
        return descriptors

    with batcher_of(describe_or_fail) as batcher:
        batcher.submit(images_of(0))
        assert gate.entered.wait(10)
        before, failing, after = (batcher.submit(images_of(value)) for value in (12, 13, 14))
        gate.opened.set()
        assert before.result(10)[0, 0] == 12
        assert after.result(10)[0, 0] == 14
        with pytest.raises(ValueError, match="unlucky"):
            failing.result(10)


def test_closing_finishes_what_was_submitted() -> None:
    with batcher_of(describe, batch_size=1) as batcher:
        answers = [batcher.submit(images_of(value)) for value in range(5)]
    assert all(answer.done() for answer in answers)


def test_past_its_length_the_queue_asks_to_come_back() -> None:
    with batcher_of(describe, max_waiting=3) as batcher:
        with batcher.admit(2), batcher.admit(1):
            assert batcher.waiting == 3
            with pytest.raises(Busy, match="try again in 1 s") as busy, batcher.admit(1):
                pass
            assert busy.value.retry_after == 1
        assert batcher.waiting == 0
        with batcher.admit(5):  # more than fit at a time, but nobody waits
            assert batcher.waiting == 5


def test_the_time_to_come_back_follows_from_the_speed_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 50))
    monkeypatch.setattr("progeo.serve.batching.time.perf_counter", lambda: next(clock))
    with batcher_of(describe, max_waiting=2) as batcher:
        batcher.submit(images_of(1)).result(10)
        with batcher.admit(2), pytest.raises(Busy) as busy, batcher.admit(1):
            pass
    assert busy.value.retry_after == 20  # two images at a mean that has moved a fifth of the way from 0 to 50 s
