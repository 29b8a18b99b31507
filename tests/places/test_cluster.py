"""Indexing on a Ray cluster: it makes what one process makes, and whoever is killed loses and doubles no photo."""

from __future__ import annotations

import logging
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from progeo import cli
from progeo.errors import ProgeoError
from progeo.places import approximate, cluster, segments
from progeo.places.database import PlaceDatabase

from .conftest import PHOTOS, make_network
from .test_approximate import add_rows
from .test_shards import read_rows

Index = Callable[..., str]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a cluster of two processors, which this process is connected to."""
    ray = pytest.importorskip("ray", reason='needs Ray: pip install "progeo[ray]"')
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - of 15 they would hardly run beside other tests
    handler = signal.getsignal(signal.SIGTERM)  # Ray puts its own in its place
    settings = {"num_cpus": 2, "include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    for attempt in range(3):
        try:
            context = ray.init("local", **settings)
            break
        except Exception as error:  # a busy machine takes longer to start it than Ray waits
            ray.shutdown()
            if attempt == 2:
                pytest.skip(f"Ray does not start here: {error}")
    yield context.address_info["address"]
    ray.shutdown()
    signal.signal(signal.SIGTERM, handler)


def name_settings(tmp_path: Path, name: str) -> list[str]:
    folders = {"--database": tmp_path / name, "--cache_folder": tmp_path / "cache", "--device": "cpu"}
    return [str(part) for pair in folders.items() for part in pair]


@pytest.fixture
def index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Index:
    """Run ``progeo index`` on a database and return what it says."""

    def run(*arguments: object, name: str = "places", code: int = 0) -> str:
        assert cli.main(["index", *map(str, arguments), *name_settings(tmp_path, name)]) == code
        return " ".join(capsys.readouterr().err.split())

    return run


def test_a_cluster_makes_what_one_process_makes(
    address: str, index: Index, many_photos: Path, model_file: Path, tmp_path: Path
) -> None:
    index(many_photos, "--model", model_file, name="one")
    arguments = (many_photos, "--model", model_file, "--cluster", "ray", "--shards", 3)
    said = index(*arguments)
    assert "3 shards committed; it holds 24 photos now" in said and "24 photos added, 0 kept, 0 failed" in said
    assert read_rows(tmp_path / "places").equals(read_rows(tmp_path / "one"))
    with PlaceDatabase.open(tmp_path / "places") as database:
        assert database.calibration is not None
    assert "0 photos added, 24 kept, 0 failed" in index(*arguments)
    assert read_rows(tmp_path / "places").equals(read_rows(tmp_path / "one"))


def find_workers() -> list[int]:
    """The workers of the cluster that this process has started."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], stdout=subprocess.PIPE, text=True, check=True).stdout
    processes = {
        int(pid): (int(ppid), args) for pid, ppid, args in (line.split(None, 2) for line in listed.splitlines()[1:])
    }

    def is_ours(pid: int) -> bool:
        return pid == os.getpid() or (pid in processes and is_ours(processes[pid][0]))

    return [pid for pid, (_, args) in processes.items() if args.startswith("ray::Worker") and is_ours(pid)]


def kill_workers(moments: random.Random, stop: list[bool], killed: list[int]) -> None:
    """Kill a worker at a random moment, twice."""
    while not stop and len(killed) < 2:
        time.sleep(moments.uniform(0, 0.5))
        if workers := find_workers():
            killed.append(moments.choice(workers))
            os.kill(killed[-1], signal.SIGKILL)
            time.sleep(2)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the list of processes")
def test_killed_workers_and_drivers_lose_and_double_nothing(
    address: str, index: Index, many_photos: Path, model_file: Path, tmp_path: Path
) -> None:
    moments = random.Random(0)
    arguments = [str(many_photos), "--model", str(model_file), "--cluster", "ray", "--shards", "4"]
    settings = [*name_settings(tmp_path, "places"), "--ray_address", address]
    command = [sys.executable, "-m", "progeo", "index", *arguments, *settings]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as driver:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "places").glob("shards/*.json")) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(moments.uniform(0, 0.5))
        driver.kill()
    stop: list[bool] = []
    killed: list[int] = []
    killer = Thread(target=kill_workers, args=(moments, stop, killed))
    killer.start()
    index(*arguments)
    stop.append(True)
    killer.join()
    assert killed
    rows = read_rows(tmp_path / "places")
    assert len(rows) == rows["path"].n_unique() == PHOTOS


class CrashError(Exception):
    """What the stand-in raises for a worker that is gone."""


class StandIn:
    """As much of Ray as the driver uses, in this process; every third call finds that its worker has died."""

    def __init__(self) -> None:
        self.calls, self.crashes = 0, 0
        self.exceptions = SimpleNamespace(RayTaskError=ZeroDivisionError, RayError=CrashError)

    def is_initialized(self) -> bool:
        return True

    def available_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def remote(self, **needs: object) -> Any:
        assert needs == {"num_cpus": 1, "num_gpus": 0}

        def start(kind: Any) -> Any:
            return SimpleNamespace(remote=lambda *arguments: Actor(kind(*arguments)))

        return start

    def wait(self, running: list[Any]) -> tuple[list[Any], list[Any]]:
        return running[-1:], running[:-1]

    def get(self, call: Any) -> Any:
        self.calls += 1
        if self.calls % 3 == 0:
            self.crashes += 1
            raise CrashError("the worker is gone")
        return call()


class Actor:
    """A worker of the stand-in: a call is made when its result is asked for."""

    def __init__(self, worker: object) -> None:
        self._worker = worker

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *arguments: partial(getattr(self._worker, name), *arguments))


def test_the_driver_gives_the_work_of_dead_workers_to_others_and_builds_the_index(
    index: Index, many_photos: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = StandIn()
    monkeypatch.setattr(cluster, "require", lambda *_: ray)
    monkeypatch.setattr(approximate, "PHOTOS_TO_INDEX", 20)
    index(many_photos, "--model", model_file, name="one")
    arguments = (many_photos, "--model", model_file, "--cluster", "ray", "--shards", 4)
    said = index(*arguments)
    assert "4 shards committed; it holds 24 photos now" in said and "24 photos added, 0 kept, 0 failed" in said
    assert ray.crashes >= 2
    assert read_rows(tmp_path / "places").equals(read_rows(tmp_path / "one"))
    with PlaceDatabase.open(tmp_path / "places") as database:
        assert not database.lacks_index
        described = approximate.describe(database._tables.photos)
        assert described is not None and described["photos"] == PHOTOS
    assert "0 photos added, 24 kept, 0 failed" in index(*arguments)


class Dying:
    """A worker that dies of whatever it is given."""

    def __init__(self, *_: object) -> None:
        pass

    def index(self, *_: object) -> None:
        os._exit(1)


def test_a_worker_that_dies_again_and_again_ends_the_run(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(cluster, "Worker", Dying)
    pool = cluster.Pool(ray, "nowhere", {"device": "cpu"}, 1)
    message = (
        r"Shards \(0 of 1\): its worker died 3 times. .* too little memory: lower `batch_size`.*goes on from there"
    )
    with pytest.raises(ProgeoError, match=message):
        list(pool.run([("index", ())], "Shards"))


def test_a_worker_without_memory_says_what_to_lower(
    many_photos: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PlaceDatabase.create(tmp_path / "places", model_file)

    def fill_memory(*_: object) -> Any:
        raise MemoryError

    monkeypatch.setattr(PlaceDatabase, "index_shard", fill_memory)
    with pytest.raises(
        ProgeoError, match=r"too little memory: shard 1 of 4: lower `batch_size`, or take more `shards`"
    ):
        cluster.Worker(str(tmp_path / "places"), {}).index(many_photos, 1, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--cluster", "ray"), "A --cluster takes all shards: please give --shards N, and no --shard"),
        (("--cluster", "ray", "--shards", 2, "--shard", 0), "please give --shards N, and no --shard"),
        (("--shards", 2, "--shard", 0, "--ray_address", "auto"), "please give --cluster ray too"),
        (("--cluster", "ray", "--shards", 2, "--model", "fit"), "every shard would fit a model of its own"),
    ],
)
def test_what_does_not_go_together_is_refused(
    index: Index, many_photos: Path, arguments: tuple[object, ...], message: str
) -> None:
    assert message in index(many_photos, *arguments, code=2)


def test_who_is_no_cluster_is_named(
    index: Index, many_photos: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason='needs Ray: pip install "progeo[ray]"')
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    arguments = (many_photos, "--model", model_file, "--cluster", "ray", "--shards", 2)
    said = index(*arguments, "--ray_address", "127.0.0.1:1", code=2)
    assert "There is no Ray cluster at --ray_address 127.0.0.1:1 (" in said and "Start one with ray start" in said
    monkeypatch.setitem(sys.modules, "ray", None)
    assert re.search(r"A cluster needs ray, which is not installed: .*\[ray\]", index(*arguments, code=2))


def test_an_index_in_segments_finds_what_exact_search_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate, "PHOTOS_TO_INDEX", 600)
    database = PlaceDatabase.create(tmp_path / "places", make_network())
    tables = database._tables
    for start in (0, 500, 1000, 1500):
        descriptors = add_rows(database, 500, start)
    for _ in range(2):  # the second time in place of the first
        training = segments.train(f"{database.address}/{tables.photos.name}.lance", tables.descriptor_dim)
        parts = segments.divide(training, 3)
        assert sorted(number for part in parts for number in part) == [0, 1, 2, 3] and len(parts) == 3
        segments.commit(training, [segments.build(training, part) for part in parts])
    tables.photos.checkout_latest()
    approximate.note(tables.photos, tables.settings)
    assert approximate.describe(tables.photos) == {"photos": 2000, "waiting": 0, "segments": 3}
    assert not database.lacks_index
    assert approximate.measure_agreement(tables.photos, database.search)[0] >= 98
    assert database.search(descriptors[:1], k=1)[0]["path"][0] == "1500.jpg"
