"""Reading images ahead of the model, in threads.

Pillow lets other threads run while it decodes, so threads read as fast as worker processes do, and spare the package
their troubles: no shared memory to run out of, no start-up per epoch, no orphans after a kill, errors as they are.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def count_readers(num_workers: int | None) -> int:
    """Return the number of reading threads: as asked for, or one per core but at most eight."""
    if num_workers is not None:
        return max(1, num_workers)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, cores)


def read_ahead(
    read: Callable[[Item], Result], items: Iterable[Item], *, num_workers: int | None = None, ahead: int = 64
) -> Iterator[Result]:
    """Yield ``read(item)`` for each item, in order, computed in threads up to ``ahead`` items early.

    An exception of ``read`` is raised here, at the item's turn. When the caller stops early, pending items are dropped.
    With ``num_workers`` 0 each item is read when its turn comes, in the calling thread.
    """
    if num_workers == 0:
        yield from map(read, items)
        return
    pool = ThreadPoolExecutor(count_readers(num_workers), thread_name_prefix="progeo-read")
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(read, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
