"""Killing, racing and reading while photos are indexed, in processes of their own."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest

from progeo import cli
from progeo.places import local
from progeo.places.database import PlaceDatabase

from .conftest import PHOTOS

KILLS = 20


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Starts processes that have imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["progeo.places.database", "progeo.models.files", "timm", __name__])
    return context


def index(photos: Path, model: Path, database: Path, cache: Path) -> None:
    """Index in small commits; what a child process runs."""
    local.PHOTOS_PER_COMMIT = 2
    arguments = ["--model", str(model), "--database", str(database), "--cache_folder", str(cache), "--device", "cpu"]
    small = ["--infer_batch_size", "2", "--num_workers", "1"]
    assert cli.main(["index", str(photos), *arguments, *small]) == 0


def read_paths(database: Path) -> list[str]:
    if not PlaceDatabase.exists(database):
        return []
    with PlaceDatabase.open(database) as opened:
        paths: list[str] = opened._tables.photos.to_arrow()["path"].to_pylist()
        return sorted(paths)


def test_killing_at_random_moments_loses_and_doubles_nothing(
    processes: ForkServerContext, many_photos: Path, model_file: Path, tmp_path: Path
) -> None:
    arguments = (many_photos, model_file, tmp_path / "places", tmp_path / "cache")
    moments = random.Random(0)
    everything = sorted(str(path) for path in many_photos.iterdir())
    found: list[str] = []
    partial = 0
    for kill in range(KILLS):
        process = processes.Process(target=index, args=arguments)
        process.start()
        if kill % 2:
            while process.is_alive() and len(read_paths(tmp_path / "places")) == len(found):
                time.sleep(0.01)
            time.sleep(moments.uniform(0, 0.05))  # between or within the commits that follow
        else:
            time.sleep(moments.uniform(0.05, 0.6))  # mostly before the first commit
        process.kill()
        process.join()
        found = read_paths(tmp_path / "places")
        assert len(found) == len(set(found))
        assert set(found) <= set(everything)
        partial += 0 < len(found) < PHOTOS
        if len(found) == PHOTOS:
            shutil.rmtree(tmp_path / "places")
            found = []
    assert partial >= KILLS / 4
    process = processes.Process(target=index, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert read_paths(tmp_path / "places") == everything


def test_two_at_once_and_a_reader_hold_no_row_twice(
    processes: ForkServerContext, many_photos: Path, model_file: Path, tmp_path: Path
) -> None:
    arguments = (many_photos, model_file, tmp_path / "places", tmp_path / "cache")
    indexers = [processes.Process(target=index, args=arguments) for _ in range(2)]
    for process in indexers:
        process.start()
    counts = []
    while any(process.is_alive() for process in indexers):
        if PlaceDatabase.exists(tmp_path / "places"):
            with PlaceDatabase.open(tmp_path / "places") as reader:
                matches = reader.search(np.ones((1, 16), np.float32), k=PHOTOS)[0] if len(reader) else []
                assert len({*matches["path"]} if len(matches) else ()) == len(matches)
                counts.append(len(matches))
        time.sleep(0.01)
    assert [process.exitcode for process in indexers] == [0, 0]
    assert counts == sorted(counts)
    assert any(0 < count < PHOTOS for count in counts)
    assert read_paths(tmp_path / "places") == sorted(str(path) for path in many_photos.iterdir())
