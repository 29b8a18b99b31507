"""Evaluating a test set, from the command to the figures: its folders, its sizes, and images that cannot be read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from progeo import cli

Evaluate = Callable[..., dict[str, Any]]
UNTRAINED = [
    *("eval", "--backbone", "timm:test_resnet", "--backbone_weights", "none", "--fc_output_dim", "16"),
    *("--device", "cpu", "--num_workers", "1", "--no_report", "--json"),
]


@pytest.fixture()
def test_set(tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny city's test set: eight database images, eight queries, 48 x 40 pixels."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_city / "test", tmp_path / "set")
    return tmp_path / "set"


@pytest.fixture()
def evaluate(capsys: pytest.CaptureFixture[str]) -> Evaluate:
    """Evaluate a folder with an untrained network and return what ``--json`` prints."""

    def run(folder: Path, *options: str) -> dict[str, Any]:
        capsys.readouterr()
        assert cli.main([*UNTRAINED, "--test_set_folder", str(folder), *options]) == 0
        results: dict[str, Any] = json.loads(capsys.readouterr().out)
        return results

    return run


@pytest.fixture()
def error_of(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return the message with which an evaluation ends."""

    def run(folder: Path, *options: str) -> str:
        assert cli.main([*UNTRAINED, "--test_set_folder", str(folder), *options]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "Traceback" not in captured.err
        return " ".join(captured.err.split())

    return run


def keep(folder: Path, count: int) -> None:
    for path in sorted(folder.iterdir())[count:]:
        path.unlink()


def test_figures_of_a_whole_set(test_set: Path, evaluate: Evaluate) -> None:
    results = evaluate(test_set)
    assert (results["database_images"], results["queries"], results["queries_without_positives"]) == (8, 8, 0)
    assert list(results["recalls"]) == ["R@1", "R@5", "R@10", "R@20"]
    assert results["recalls"]["R@10"] == 100  # all of the database
    assert results["image_size"] == "native"
    assert evaluate(test_set)["recalls"] == results["recalls"]


def test_which_folder_of_queries_is_taken(test_set: Path, evaluate: Evaluate) -> None:
    for count, name in enumerate(("night", "queries_v2", "queries_v1"), start=1):
        shutil.copytree(test_set / "queries", test_set / name)
        keep(test_set / name, count)
    assert evaluate(test_set)["queries"] == 8
    assert evaluate(test_set, "--queries_folder", "night")["queries"] == 1
    assert evaluate(test_set, "--queries_folder", "queries_v2")["queries"] == 2
    shutil.rmtree(test_set / "queries")
    assert evaluate(test_set)["queries"] == 3  # queries_v1
    shutil.rmtree(test_set / "queries_v1")
    assert evaluate(test_set)["queries"] == 2  # queries_v2


def test_folders_that_are_missing(test_set: Path, error_of: Callable[..., str]) -> None:
    message = error_of(test_set, "--queries_folder", "night")
    assert "set must hold the folders database and night; it holds database, queries." in message
    (test_set / "queries").rename(test_set / "photos")
    message = error_of(test_set)
    assert (
        "must hold the folders database and queries or queries_v1 or queries_v2; it holds database, photos" in message
    )
    assert "--queries_folder NAME" in message
    shutil.rmtree(test_set / "database")
    assert "it holds photos" in error_of(test_set, "--queries_folder", "photos")


@pytest.mark.parametrize("half", ["database", "queries"])
def test_damaged_image_is_an_error_that_names_it(test_set: Path, error_of: Callable[..., str], half: str) -> None:
    path = sorted((test_set / half).iterdir())[3]
    path.write_bytes(path.read_bytes()[:200])
    assert f"The image {path} cannot be read, it may be damaged" in error_of(test_set)


def test_photos_of_other_sizes_and_resizing(test_set: Path, evaluate: Evaluate) -> None:
    for number, path in enumerate(sorted((test_set / "queries").iterdir())):
        with Image.open(path) as image:
            larger = image.resize((96 + 16 * number, 80), Image.Resampling.NEAREST)
        larger.save(path, quality=95)
    assert evaluate(test_set)["image_size"] == "native"
    results = evaluate(test_set, "--image_size", "40")
    assert (results["image_size"], results["queries"]) == (40, 8)
