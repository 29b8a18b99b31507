"""Evaluating a test set, from the command to the figures: its folders, its sizes, and images that cannot be read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from progeo import cli
from progeo.errors import ProgeoError
from progeo.evaluation.evaluate import choose_preprocessing
from progeo.evaluation.evaluate import evaluate as evaluate_model
from progeo.evaluation.evaluation_set import read_evaluation_set
from progeo.evaluation.protocols import PROTOCOLS, find_rule
from progeo.models.building import create_model
from progeo.models.encoder import Encoder
from progeo.models.files import save_model
from progeo.models.network import PlaceNetwork
from progeo.pixels.recipe import Preprocessing

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
    assert results["image_size"] == 160
    assert evaluate(test_set)["recalls"] == results["recalls"]
    assert evaluate(test_set, "--num_workers", "0")["recalls"] == results["recalls"]


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
    assert evaluate(test_set, "--no_resize_test_imgs")["image_size"] == "native"
    results = evaluate(test_set, "--image_size", "40")
    assert (results["image_size"], results["queries"]) == (40, 8)


@pytest.fixture()
def network() -> PlaceNetwork:
    return create_model("timm:test_resnet", descriptor_dim=8, weights="none").eval()


def test_from_python(test_set: Path, network: PlaceNetwork) -> None:
    """A network, what runs it, or a file of it; and the set as a folder or as it was read."""
    expected = evaluate_model(network, test_set)
    save_model("model.safetensors", network)
    read = read_evaluation_set(test_set)
    for model in (Encoder.create(network, batch_size=3), "model.safetensors", Path("model.safetensors")):
        found = evaluate_model(model, read, device="cpu", num_workers=0)
        np.testing.assert_array_equal(found.predictions, expected.predictions)
        assert found.recalls == expected.recalls
    assert expected.predictions.shape == (8, 8)
    assert {path.name for path in Path.cwd().iterdir()} == {"set", "model.safetensors"}  # no folder is needed
    assert evaluate_model(network, read, k=3, positive_dist_threshold=1e6).recalls == {1: 100.0}


def test_sizes_from_python(test_set: Path, network: PlaceNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    original = Encoder.read

    def note(self: Encoder, *arguments: Any) -> Any:
        read.append(original(self, *arguments))
        return read[-1]

    monkeypatch.setattr(Encoder, "read", note)
    wanted: list[tuple[dict[str, Any], tuple[int, int, int]]] = [
        ({}, (160, 192, 3)),
        ({"image_size": 20}, (20, 24, 3)),
        ({"native": True}, (40, 48, 3)),
    ]
    for settings, shape in wanted:
        evaluate_model(network, test_set, **settings)
        assert {pixels.shape for pixels in read} == {shape}
        read.clear()


def test_a_protocol_keeps_the_size_of_photos_and_limits_that_of_its_queries() -> None:
    preprocessing = Preprocessing(image_size=512)
    database, queries = choose_preprocessing(preprocessing, PROTOCOLS["tokyo247"])
    assert (database.native, database.native_limit, queries.native_limit) == (True, None, 480)
    assert choose_preprocessing(preprocessing, PROTOCOLS["nordland"])[1].native_limit is None
    for settings in ({"native": False}, {"image_size": 512}):
        assert choose_preprocessing(preprocessing, PROTOCOLS["tokyo247"], **settings) == (preprocessing,) * 2
    square = Preprocessing(image_size=322, square=True)
    assert choose_preprocessing(square, PROTOCOLS["tokyo247"]) == (square, square)
    with pytest.raises(ProgeoError, match="megaloc takes photos of 322 x 322 px only. Leave out `image_size`"):
        choose_preprocessing(square, native=True, name="megaloc")


def test_predictions_are_reranked(test_set: Path, network: PlaceNetwork) -> None:
    asked = []

    def reverse(query: Callable[[], Any], candidates: Sequence[str], distances: Any) -> Any:
        asked.append((query().shape, {Path(candidate).parent.name for candidate in candidates}))
        return np.arange(len(candidates))[::-1]

    plain = evaluate_model(network, test_set, k=3)
    reranked = evaluate_model(network, test_set, k=3, rerank=reverse)
    np.testing.assert_array_equal(reranked.predictions, plain.predictions[:, ::-1])
    assert plain.descriptor_distances is not None
    np.testing.assert_array_equal(reranked.descriptor_distances, plain.descriptor_distances[:, ::-1])
    assert asked == [((160, 192, 3), {"database"})] * 8


def test_arguments_are_checked_in_python_too(test_set: Path, network: PlaceNetwork) -> None:
    with pytest.raises(ProgeoError, match="`protocol` nordland fixes what is right.*Leave out `positive_dist_thresh"):
        find_rule(PROTOCOLS["nordland"], 10.0)
    with pytest.raises(ProgeoError, match="There is no protocol 'nordlan' .did you mean nordland"):
        evaluate_model(network, test_set, protocol="nordlan")
    with pytest.raises(ProgeoError, match="`protocol` is part of an evaluation set"):
        evaluate_model(network, read_evaluation_set(test_set), protocol="nordland")
