"""Several processes at one database: what one of them adds or removes, no other loses."""

from __future__ import annotations

import multiprocessing
import shutil
import threading
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from progeo import cli
from progeo.errors import ProgeoError
from progeo.places import rebuilding, storage
from progeo.places.commit import Target
from progeo.places.database import PlaceDatabase

from .conftest import make_network


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Starts processes that have imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["progeo.places.database", "progeo.models.files", "timm", __name__])
    return context


def write_photos(folder: Path, count: int, first: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(first)
    for number in range(first, first + count):
        pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"@{500005 + 10 * number}@4000005@31@S@@@{number}@@0@@@@@@.jpg")
    return folder


def names_in(database: Path) -> list[str]:
    with PlaceDatabase.open(database) as opened:
        return sorted(Path(path).name for path in opened._tables.photos.to_arrow()["path"].to_pylist())


def names_of(*folders: Path) -> list[str]:
    return sorted(path.name for folder in folders for path in folder.iterdir())


def create_and_index(photos: Path, model: Path, database: Path, barrier: Any) -> None:
    """Index into a database that is not there, with all processes at the last step of making it at one moment."""
    lock_creation = storage.lock_creation

    def wait_and_lock(address: str) -> Any:
        barrier.wait(60)
        return lock_creation(address)

    storage.lock_creation = wait_and_lock
    settings = ["--model", str(model), "--database", str(database), "--device", "cpu", "--num_workers", "0"]
    assert cli.main(["index", str(photos), *settings, "--cache_folder", f"{photos}_cache"]) == 0


@pytest.mark.parametrize("attempt", range(2))
def test_of_processes_that_make_one_database_one_wins_and_the_others_join(
    processes: ForkServerContext, model_file: Path, tmp_path: Path, attempt: int
) -> None:
    folders = [write_photos(tmp_path / name, 6, first) for name, first in (("one", 0), ("two", 6), ("three", 12))]
    barrier = processes.Barrier(len(folders))
    running = [
        processes.Process(target=create_and_index, args=(folder, model_file, tmp_path / "places", barrier))
        for folder in folders
    ]
    for process in running:
        process.start()
    for process in running:
        process.join()
    assert [process.exitcode for process in running] == [0, 0, 0]
    assert names_in(tmp_path / "places") == names_of(*folders)


def rebuild_slowly(database: Path, started: Any, go_on: Any) -> None:
    """Rebuild with another model; once everything is carried over, wait for others to change the database."""
    carry_over = rebuilding.Move.carry_over

    def carry_over_and_wait(move: rebuilding.Move, only_changed: bool) -> None:
        carry_over(move, only_changed)
        started.set()
        assert go_on.wait(60)

    rebuilding.Move.carry_over = carry_over_and_wait  # type: ignore[assignment,method-assign]
    rebuilding.SECONDS_TO_NOTICE = 0.0
    with PlaceDatabase.open(database) as opened:
        opened.rebuild(make_network(seed=1, dimension=24))


@pytest.fixture
def rebuilt(processes: ForkServerContext, model_file: Path, tmp_path: Path) -> Iterator[tuple[Path, Any, Any]]:
    """A database of ten photos while it is rebuilt; the event that lets that go on, and the process."""
    with PlaceDatabase.create(tmp_path / "places", model_file, num_workers=0) as database:
        assert database.add(write_photos(tmp_path / "first", 10)).added == 10
    started, go_on = processes.Event(), processes.Event()
    process: ForkServerProcess = processes.Process(target=rebuild_slowly, args=(tmp_path / "places", started, go_on))
    process.start()
    assert started.wait(60)
    yield tmp_path / "places", go_on, process
    go_on.set()
    process.join()


def test_a_rebuilding_carries_over_what_came_and_went_meanwhile(
    rebuilt: tuple[Path, Any, ForkServerProcess], tmp_path: Path
) -> None:
    address, go_on, process = rebuilt
    with PlaceDatabase.open(address, num_workers=0) as database:
        assert database.add(write_photos(tmp_path / "second", 5, first=10)).added == 5
        removed = min((tmp_path / "first").iterdir())
        assert database.remove([removed]) == 1
        go_on.set()
        process.join()
        assert process.exitcode == 0
    expected = set(names_of(tmp_path / "first", tmp_path / "second")) - {removed.name}
    assert names_in(address) == sorted(expected)
    with PlaceDatabase.open(address) as database:
        paths = [str(path) for path in (tmp_path / "second").iterdir()]
        assert [estimate.matches[0].path for estimate in database.locate(paths)] == paths
        assert database.descriptor_dim == 24


def test_who_writes_to_the_old_photos_goes_over_to_the_new_ones(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photos are read while the database is rebuilt, and come to be committed when the old table is none any more."""
    address = tmp_path / "places"
    with PlaceDatabase.create(address, model_file, num_workers=0) as database:
        database.add(write_photos(tmp_path / "first", 6))
        commit = Target.commit

        def rebuild_and_commit(target: Target, rows: Any) -> int:
            monkeypatch.setattr(Target, "commit", commit)
            with PlaceDatabase.open(address, num_workers=0) as other:
                other.rebuild(make_network(seed=1, dimension=24))
            return commit(target, rows)

        monkeypatch.setattr(Target, "commit", rebuild_and_commit)
        report = database.add(write_photos(tmp_path / "second", 4, first=6))
        assert (report.added, report.kept, report.failed) == (4, 0, {})
        assert (database.descriptor_dim, len(database)) == (24, 10)
    assert names_in(address) == names_of(tmp_path / "first", tmp_path / "second")


def test_what_comes_at_the_last_moment_is_carried_over_too(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photos come and go between the last look at the old table and the moment when the new one is the database."""
    address = tmp_path / "places"
    with PlaceDatabase.create(address, model_file, num_workers=0) as database:
        first = write_photos(tmp_path / "first", 6)
        database.add(first)
        write_settings = storage.write_settings

        def change_and_write(settings: Any, values: dict[str, Any]) -> None:
            if "database" in values:
                with PlaceDatabase.open(address, num_workers=0) as other:
                    other.add(write_photos(tmp_path / "second", 4, first=6))
                    other.remove([min(first.iterdir())])
            write_settings(settings, values)

        monkeypatch.setattr(storage, "write_settings", change_and_write)
        database.rebuild(make_network(seed=1, dimension=24))
        monkeypatch.undo()
    assert names_in(address) == sorted([*names_of(first)[1:], *names_of(tmp_path / "second")])


def test_two_rebuildings_of_one_kind_share_the_work(model_file: Path, tmp_path: Path) -> None:
    with PlaceDatabase.create(tmp_path / "places", model_file, num_workers=0) as database:
        database.add(write_photos(tmp_path / "first", 6))
        threads = []
        for _ in range(2):
            opened = PlaceDatabase.open(tmp_path / "places", num_workers=0)
            threads.append(threading.Thread(target=opened.rebuild, args=[make_network(seed=1, dimension=24)]))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert names_in(tmp_path / "places") == names_of(tmp_path / "first")


def test_further_photos_of_the_later_of_two_rebuildings_stay(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PlaceDatabase.create(tmp_path / "places", model_file, num_workers=0) as database:
        database.add(write_photos(tmp_path / "first", 6))
        carry_over = rebuilding.Move.carry_over

        def let_another_finish(move: rebuilding.Move, only_changed: bool) -> None:
            monkeypatch.setattr(rebuilding.Move, "carry_over", carry_over)
            with PlaceDatabase.open(tmp_path / "places", num_workers=0) as other:
                other.rebuild(make_network(seed=1, dimension=24))
            carry_over(move, only_changed)

        monkeypatch.setattr(rebuilding.Move, "carry_over", let_another_finish)
        further = write_photos(tmp_path / "second", 4, first=6)
        assert database.rebuild(make_network(seed=1, dimension=24), further).added == 4
    assert names_in(tmp_path / "places") == names_of(tmp_path / "first", tmp_path / "second")


class TestPruning:
    """A photo is removed where it is deleted, and not where its disk is missing."""

    @pytest.fixture
    def folders(self, tmp_path: Path) -> tuple[Path, Path]:
        return write_photos(tmp_path / "disks/one", 4), write_photos(tmp_path / "disks/two", 4, first=4)

    @pytest.fixture
    def database(self, folders: tuple[Path, Path], model_file: Path, tmp_path: Path) -> PlaceDatabase:
        database = PlaceDatabase.create(tmp_path / "places", model_file, num_workers=0)
        for folder in folders:
            database.add(folder)
        return database

    def test_deleted_photos_go(self, database: PlaceDatabase, folders: tuple[Path, Path]) -> None:
        min(folders[0].iterdir()).unlink()
        assert database.prune() == 1
        assert len(database) == 7

    @pytest.mark.parametrize("empty", [True, False])
    def test_a_missing_disk_is_refused_with_the_count(
        self, database: PlaceDatabase, folders: tuple[Path, Path], empty: bool, capsys: pytest.CaptureFixture[str]
    ) -> None:
        min(folders[1].iterdir()).unlink()
        shutil.move(folders[0], folders[0].parent.parent / "elsewhere")
        if empty:
            folders[0].mkdir()  # as a mount point without its disk
        arguments = ["--database", database.address, "--prune", "--device", "cpu"]
        assert cli.main(["index", *arguments]) == 2
        message = " ".join(capsys.readouterr().err.split())
        assert f"4 of 8 photos are not there any more, first {folders[0]}" in message
        assert "So no photo was removed" in message
        assert len(database) == 8
        # The other folder is there, and says nothing of this one.
        assert cli.main(["index", str(folders[1]), *arguments]) == 2
        assert len(database) == 8

    def test_a_folder_that_is_gone_below_one_that_is_indexed(
        self, database: PlaceDatabase, folders: tuple[Path, Path], tmp_path: Path
    ) -> None:
        shutil.rmtree(folders[0])
        cache = ["--cache_folder", str(tmp_path / "cache")]
        arguments = ["--database", database.address, "--prune", "--device", "cpu", *cache]
        assert cli.main(["index", str(tmp_path / "disks"), *arguments]) == 0
        assert names_in(tmp_path / "places") == names_of(folders[1])

    def test_nothing_is_left_to_go_by(self, database: PlaceDatabase, folders: tuple[Path, Path]) -> None:
        for folder in folders:
            for path in folder.iterdir():
                path.unlink()
            (folder / "readme.txt").write_text("moved")
        with pytest.raises(ProgeoError, match="8 of 8 photos are not there any more"):
            database.prune()
        assert database.remove(database._tables.photos.to_arrow()["path"].to_pylist()) == 8
