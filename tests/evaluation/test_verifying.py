"""Re-ranking in an evaluation: what it finds, what it learns of the set, and what it says where it cannot."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from torch import nn

pytest.importorskip("cv2")

from progeo import cli
from progeo.errors import ProgeoError
from progeo.evaluation.evaluate import evaluate
from progeo.evaluation.protocols import Protocol
from progeo.models.building import create_model
from progeo.models.network import PlaceNetwork
from progeo.pixels.recipe import Preprocessing
from tests.textures import PLACES, write_set


@pytest.fixture(scope="module")
def textured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("textured") / "set")


@pytest.fixture(scope="module")
def network() -> PlaceNetwork:
    network = create_model("timm:test_resnet", descriptor_dim=8, weights="none").eval()
    network.set_image_size(120)
    return network


def test_right_photos_come_first_whatever_the_number_of_threads(
    textured: Path, network: PlaceNetwork, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = evaluate(network, textured, k=PLACES, rerank="none")
    with caplog.at_level("INFO"):
        found = evaluate(network, textured, k=PLACES, rerank="sift", num_workers=0)
    assert found.recalls[1] > plain.recalls[1] + 30
    assert "Re-ranking by sift: of 32 pairs of photos that lie far apart 99.5 % agree in fewer than" in caplog.text
    for _ in range(2):  # the second time with keypoints of the first
        again = evaluate(network, textured, k=PLACES, rerank="sift", num_workers=3, cache_folder=tmp_path)
        np.testing.assert_array_equal(again.predictions, found.predictions)
    half = evaluate(network, textured, k=PLACES, rerank="sift", descriptors_folder=tmp_path / "descriptors")
    assert half.recalls[1] == pytest.approx(found.recalls[1], abs=7)  # in half precision
    few = evaluate(network, textured, k=PLACES, rerank="sift", candidates=1)
    np.testing.assert_array_equal(few.predictions, plain.predictions)


@pytest.mark.parametrize("name", ["dense", "both"])
def test_features_of_the_model(name: str, textured: Path, network: PlaceNetwork) -> None:
    found = evaluate(network, textured, k=5, rerank=name)
    assert found.predictions.shape == (PLACES, 5)
    np.testing.assert_array_equal(
        np.sort(found.predictions), np.sort(evaluate(network, textured, k=5, rerank="none").predictions)
    )


def test_too_few_photos_to_learn_from_leave_the_order(
    tiny_city: Path, network: PlaceNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    plain = evaluate(network, tiny_city / "test", rerank="none")
    found = evaluate(network, tiny_city / "test", rerank="sift")
    np.testing.assert_array_equal(found.predictions, plain.predictions)
    assert "fewer than 20 pairs of photos that look alike and lie far apart" in caplog.text


def test_a_model_without_local_features_is_told_of_sift(textured: Path) -> None:
    backbone = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 8))
    model = PlaceNetwork.compose(backbone, _First(), preprocessing=Preprocessing(image_size=120))
    with pytest.raises(ProgeoError, match="no local features, which `rerank` dense compares. Take `rerank` sift"):
        evaluate(model, textured, rerank="dense")
    assert (
        evaluate(model, textured, k=PLACES, rerank="sift").recalls[1]
        > evaluate(model, textured, rerank="none").recalls[1]
    )


def test_as_a_default_what_is_missing_is_one_line_and_the_order_of_the_descriptors(
    textured: Path, network: PlaceNetwork, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert evaluate(network, textured).rerank == "dense"
    backbone = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 8))
    without_local = PlaceNetwork.compose(backbone, _First(), preprocessing=Preprocessing(image_size=120))
    assert evaluate(without_local, textured).rerank == "none"
    assert caplog.text.count("order of their descriptors, not verified. The model") == 1
    monkeypatch.setitem(sys.modules, "cv2", None)
    plain = evaluate(network, textured, rerank="none")
    found = evaluate(network, textured)
    assert found.rerank == "none"
    np.testing.assert_array_equal(found.predictions, plain.predictions)
    assert caplog.text.count("not verified. Re-ranking needs") == 1
    assert '[rerank]"' in caplog.text


def test_a_protocol_asks_for_it_by_name(textured: Path, network: PlaceNetwork) -> None:
    rules = Protocol("mine", "a set", PLACES, PLACES, checked=False, source="nowhere", utm_zones=(33,))
    assert evaluate(network, textured, protocol=rules).rerank == "none"
    assert evaluate(network, textured, protocol=rules, rerank="dense").rerank == "dense"


class _First(nn.Module):
    def forward(self, features):  # type: ignore[no-untyped-def]
        return nn.functional.normalize(features.cls, dim=1)


def test_what_is_missing_is_named(
    textured: Path, network: PlaceNetwork, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ProgeoError, match="`rerank` is auto, dense, sift, lightglue, both or none, not 'surf'"):
        evaluate(network, textured, rerank="surf")
    for library, name, extra in (("cv2", "sift", "rerank"), ("kornia", "lightglue", "lightglue")):
        monkeypatch.setitem(sys.modules, library, None)
        monkeypatch.setitem(sys.modules, f"{library}.feature", None)
        with pytest.raises(ProgeoError, match=rf'not installed: pip install .*\[{extra}\]"'):
            evaluate(network, textured, rerank=name)


def test_the_command_says_how_it_ranked(
    textured: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["eval", "--backbone", "timm:test_resnet", "--backbone_weights", "none", "--fc_output_dim", "8"]
    command += ["--image_size", "120", "--test_set_folder", str(textured), "--no_report", "--json", "--device", "cpu"]
    assert cli.main([*command, "--rerank", "sift", "--candidates", "30"]) == 0
    output = capsys.readouterr()
    results = json.loads(output.out)
    assert results["rerank"] == "sift" and results["recalls"]["R@1"] > 50
    for published, name in ((False, "dense"), (True, "none")):
        assert cli.main(command, published=published) == 0
        assert json.loads(capsys.readouterr().out)["rerank"] == name
