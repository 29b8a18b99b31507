"""Indexing on a Ray cluster: workers write the shards of ``progeo.places.shards``, and this process commits them.

A worker is an actor that has loaded the model once. It takes one shard after the other, and then segments of the
approximate index. What a worker that dies has written is kept; another one goes on from there, as the next run does
after this process has died.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import polars as pl

from progeo.console import progress_bar
from progeo.errors import ProgeoError, explain_lack_of_memory, require
from progeo.places import approximate, objects, segments, shards, storage, tidying
from progeo.places.database import PlaceDatabase
from progeo.places.encode import AddReport
from progeo.places.plan import normalise

MOST_TRIES = 3
"""Of one shard or segment, whose worker dies each time."""
SECONDS_TO_CONNECT = 5.0
LESS_MEMORY = "lower `batch_size`, or take more `shards` on machines with more memory"

Job = tuple[str, tuple[Any, ...]]
"""What a worker is to do: one of its methods, and the arguments."""


class Worker:
    """What runs on the cluster: a database that stays open, with its model loaded."""

    def __init__(self, address: str, settings: dict[str, Any]) -> None:
        """Keep where the database is; settings are those of ``PlaceDatabase.open``."""
        self._address, self._settings = address, settings

    @cached_property
    def _database(self) -> PlaceDatabase:
        """Opened by the first job, whose errors reach the driver as they are."""
        return PlaceDatabase.open(self._address, **self._settings)

    def index(self, part: pl.DataFrame, shard: int, count: int) -> AddReport:
        """Write the files of a shard, whose photos are given."""
        with explain_lack_of_memory(f"shard {shard} of {count}: {LESS_MEMORY}"):
            return self._database.index_shard(part, shard, count)

    def build(self, training: segments.Training, numbers: list[int]) -> Any:
        """Build a segment of the index."""
        lack = explain_lack_of_memory(f"a segment of the index of {self._address}: {LESS_MEMORY}")
        with storage.translate_errors(self._address, "index"), lack:
            return segments.build(training, numbers)


def index_on_cluster(
    database: PlaceDatabase,
    table: pl.DataFrame,
    count: int,
    settings: dict[str, Any],
    ray_address: str | None,
) -> tuple[AddReport, shards.CommitReport]:
    """Do what ``PlaceDatabase.index_on_cluster`` says, with an image table.

    Args:
        database: to index into.
        table: the photos.
        count: of shards.
        settings: of ``PlaceDatabase.open``, for the workers.
        ray_address: of the cluster; None starts one on this machine.
    """
    tables = database._tables
    objects.check_commits(tables.address)
    table = normalise(table)
    report = AddReport()
    with _connect(ray_address) as ray:
        pool = Pool(ray, tables.address, settings, count)
        jobs: list[Job] = [("index", (shards.take_shard(table, shard, count), shard, count)) for shard in range(count)]
        del table
        for done in pool.run(jobs, "Shards"):
            report.added, report.kept = report.added + done.added, report.kept + done.kept
            report.failed |= done.failed
        committed = shards.commit_shards(tables)
        if tables.descriptor_dim % 8 == 0 and approximate.lacks_index(tables.photos, tables.settings):
            _build_index(pool, database)
    return report, committed


def _build_index(pool: Pool, database: PlaceDatabase) -> None:
    """Have the workers build the approximate index of the photos."""
    tables = database._tables
    with storage.translate_errors(tables.address, "index"), tidying.leave_to_others():
        if tidying.has_many_files(tables.photos):
            tidying.tidy(tables.photos)
        training = segments.train(f"{tables.address.rstrip('/')}/{tables.photos.name}.lance", tables.descriptor_dim)
        jobs: list[Job] = [("build", (training, numbers)) for numbers in segments.divide(training, pool.size)]
        segments.commit(training, list(pool.run(jobs, "Segments of the index")))
        storage.find_latest_version(tables.photos, tables.address)
        approximate.note(tables.photos, tables.settings)


class Pool:
    """Workers on a cluster: one a GPU where there are any that the model may use, else one a processor core.

    Attributes:
        size: how many there are.
    """

    def __init__(self, ray: Any, address: str, settings: dict[str, Any], most: int) -> None:
        """Find how many workers can start now, at most so many; they do when there is something to do."""
        free = ray.available_resources()
        gpus = int(free.get("GPU", 0)) if settings["device"] in ("auto", "cuda") else 0
        self.size = max(1, min(most, gpus or int(free.get("CPU", 0))))
        self._ray = ray
        self._worker = ray.remote(num_cpus=1, num_gpus=1 if gpus else 0)(Worker)
        self._opened_with = address, settings
        self._idle: list[Any] = []

    def run(self, jobs: Sequence[Job], description: str) -> Iterator[Any]:
        """Yield what comes of each job, as they end.

        Raises:
            ProgeoError: a job fails, or its worker dies again and again.
        """
        ray = self._ray
        waiting, tries = deque(range(len(jobs))), Counter[int]()
        running: dict[Any, tuple[Any, int]] = {}
        with progress_bar() as bar:
            task = bar.add_task(description, total=len(jobs))
            while waiting or running:
                while waiting and len(running) < self.size:
                    worker = self._idle.pop() if self._idle else self._worker.remote(*self._opened_with)
                    method, arguments = jobs[number := waiting.popleft()]
                    running[getattr(worker, method).remote(*arguments)] = worker, number
                (done, *_), _ = ray.wait(list(running))
                worker, number = running.pop(done)
                try:
                    result = ray.get(done)
                except ray.exceptions.RayTaskError as error:
                    if isinstance(error.cause, ProgeoError):
                        raise error.cause from None
                    raise
                except ray.exceptions.RayError as error:
                    tries[number] += 1
                    if tries[number] == MOST_TRIES:
                        raise _explain_death(f"{description} ({number} of {len(jobs)})", error) from error
                    waiting.append(number)
                    continue
                self._idle.append(worker)
                bar.advance(task)
                yield result


def _explain_death(what: str, error: Exception) -> ProgeoError:
    """Return the error for a job whose worker has died each time."""
    reason = " ".join(str(error).split())[:300]
    return ProgeoError(
        f"{what}: its worker died {MOST_TRIES} times. The machine may have too little memory: {LESS_MEMORY}. What was "
        f"written is kept, and the same command goes on from there. ({type(error).__name__}: {reason})"
    )


@contextmanager
def _connect(address: str | None) -> Iterator[Any]:
    """Give Ray, connected to a cluster or with one of this machine alone; one that was connected before stays so.

    Raises:
        ProgeoError: Ray is not installed, or there is no cluster at this address.
    """
    ray = require("ray", "A cluster")
    if ray.is_initialized():
        yield ray
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is not None:
        _check_reachable(address)
    try:
        ray.init(address or "local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # a plain one where its processes take long to start
        ray.shutdown()
        raise _refuse(address, " ".join(str(error).split())[:300]) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Refuse an address that nothing answers at, which Ray itself would try for a minute."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not (host and port.isdigit()):
        return  # such as auto; Ray knows
    try:
        socket.create_connection((host, int(port)), SECONDS_TO_CONNECT).close()
    except (OSError, OverflowError) as error:
        raise _refuse(address, str(error)) from error


def _refuse(address: str | None, reason: str) -> ProgeoError:
    where = "on this machine" if address is None else f"at `ray_address` {address}"
    return ProgeoError(
        f"There is no Ray cluster {where} ({reason}). Start one with ray start, and give the address that it says, or "
        "leave the address out to use this machine alone."
    )
