"""Photos of many requests described together: while the model works on one batch, the next one gathers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Thread

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Descriptors = npt.NDArray[np.float32]
LONGEST_RETRY = 60
LONGEST_WAIT = 5.0
"""Seconds after which a request is no longer passed by smaller ones."""


class Busy(Exception):  # noqa: N818
    """The queue is full; ``retry_after`` is the number of whole seconds after which it should have drained."""

    def __init__(self, retry_after: int) -> None:
        """Take the seconds to tell the client."""
        super().__init__(f"The queue is full, try again in {retry_after} s.")
        self.retry_after = retry_after


@dataclass(frozen=True)
class Request:
    """Images that came together, and where their descriptors go."""

    images: list[Pixels]
    descriptors: Future[Descriptors] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)

    def find_turn(self) -> tuple[bool, float]:
        """Return what requests are ordered by: small ones first, so that large ones hold up nobody for long."""
        overdue = time.monotonic() - self.since > LONGEST_WAIT
        return (False, self.since) if overdue else (True, sum(image.size for image in self.images))


class Batcher:
    """Runs the model in one thread, on batches of whatever arrived while it worked on the batch before.

    Nobody waits for a batch to fill up: a lone request starts at once, and many at once share the model.

    Attributes:
        waiting: images that were admitted and are not done.
    """

    def __init__(self, describe: Callable[[list[Pixels]], Descriptors], *, batch_size: int, max_waiting: int) -> None:
        """Start the thread.

        Args:
            describe: from B images, uint8 (H, W, 3) each, to descriptors (B, D).
            batch_size: images per call of ``describe``; a request is never split, so a batch may be larger by one
                request.
            max_waiting: images admitted at a time.
        """
        self.waiting = 0
        self._describe = describe
        self._batch_size = batch_size
        self._max_waiting = max_waiting
        self._seconds_per_image = 0.0
        self._requests: SimpleQueue[Request | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="progeo-model", daemon=True)
        self._thread.start()

    @contextmanager
    def admit(self, count: int) -> Iterator[None]:
        """Let ``count`` images in for the length of the block; call it from one thread only, the event loop's.

        Raises:
            Busy: they do not fit behind those that are waiting. An idle service takes any number.
        """
        if self.waiting and self.waiting + count > self._max_waiting:
            seconds = math.ceil(self.waiting * self._seconds_per_image)
            raise Busy(min(max(1, seconds), LONGEST_RETRY))
        self.waiting += count
        try:
            yield
        finally:
            self.waiting -= count

    def submit(self, images: list[Pixels]) -> Future[Descriptors]:
        """Return the descriptors to come; a request that is cancelled before its turn costs nothing."""
        request = Request(images)
        self._requests.put(request)
        return request.descriptors

    def close(self) -> None:
        """Finish what was submitted and end the thread."""
        self._requests.put(None)
        self._thread.join()

    def _work(self) -> None:
        """Answer batch after batch until closed."""
        waiting: list[Request] = []
        closed = False
        while waiting or not closed:
            while not (waiting or closed) or not self._requests.empty():  # nobody else takes from the queue
                request = self._requests.get()
                if request is None:
                    closed = True
                else:
                    waiting.append(request)
            waiting.sort(key=Request.find_turn)
            batch: list[Request] = []
            while waiting and sum(len(request.images) for request in batch) < self._batch_size:
                batch.append(waiting.pop(0))
            running = [request for request in batch if request.descriptors.set_running_or_notify_cancel()]
            if running:
                self._answer(running)

    def _answer(self, requests: list[Request]) -> None:
        """Describe the images of several requests and give each its own descriptors, or its own error."""
        start = time.perf_counter()
        images = [image for request in requests for image in request.images]
        try:
            descriptors = self._describe(images)
        except Exception as error:
            if len(requests) > 1:  # one request's trouble must not become that of the others
                for request in requests:
                    self._answer([request])
            else:
                requests[0].descriptors.set_exception(error)
            return
        seconds = (time.perf_counter() - start) / len(images)
        self._seconds_per_image += 0.2 * (seconds - self._seconds_per_image)
        begin = 0
        for request in requests:
            end = begin + len(request.images)
            request.descriptors.set_result(descriptors[begin:end])
            begin = end
