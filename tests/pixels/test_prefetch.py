from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from progeo.pixels.prefetch import count_readers, read_ahead


def test_results_come_in_order() -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.02 if item == 0 else 0)
        return item * item

    assert list(read_ahead(slow_first, range(50), num_workers=4, ahead=8)) == [k * k for k in range(50)]


def test_reads_ahead_but_not_without_bound() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for k in range(100):
            taken.append(k)
            yield k

    results = read_ahead(lambda item: item, items(), num_workers=2, ahead=5)
    assert next(results) == 0
    assert len(taken) == 5
    results.close()  # type: ignore[attr-defined]


def test_error_is_raised_at_its_turn_as_it_is() -> None:
    def read(item: int) -> int:
        if item == 3:
            raise KeyError("three")
        return item

    results = read_ahead(read, range(10), num_workers=2, ahead=10)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="three"):
        next(results)


def test_stopping_early_leaves_no_threads() -> None:
    results = read_ahead(lambda item: item, range(1000), num_workers=3, ahead=10)
    next(results)
    results.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 5
    while any(thread.name.startswith("progeo-read") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_number_of_readers() -> None:
    assert count_readers(5) == 5
    assert 1 <= count_readers(None) <= 8


def test_without_workers_the_calling_thread_reads_when_it_is_asked() -> None:
    read: list[tuple[int, int]] = []
    results = read_ahead(lambda item: read.append((item, threading.get_ident())), range(5), num_workers=0)
    next(results)
    assert read == [(0, threading.get_ident())]
