"""Choosing an engine: graphs are kept by fingerprint, checked on their first batch, never those of other weights."""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from progeo.devices import choose_precision
from progeo.errors import ProgeoError
from progeo.models.building import create_model
from progeo.models.encoder import Encoder
from progeo.models.engines import cache, choose
from progeo.models.engines.choose import load_runnable
from progeo.models.engines.graphs import ExportedModel
from progeo.models.files import load_model_file, save_model
from progeo.models.fingerprint import compute_fingerprint, fingerprint_file
from progeo.models.network import PlaceNetwork

ONNX = "ONNX Runtime, CPUExecutionProvider"


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache.find_folder()


@pytest.fixture()
def network() -> PlaceNetwork:
    network = create_model("timm:test_resnet", descriptor_dim=8, weights="none").eval()
    network.preprocessing = dataclasses.replace(network.preprocessing, image_size=40)
    return network


@pytest.fixture()
def file(network: PlaceNetwork, tmp_path: Path) -> Path:
    save_model(tmp_path / "model.safetensors", network)
    return tmp_path / "model.safetensors"


def make_photos(count: int) -> list[Image.Image]:
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)) for _ in range(count)]


def load(path: Path, engine: str | None = "auto", device: str = "cpu") -> Any:
    return load_runnable(path, engine=engine, device=device)


def test_a_graph_is_made_once_it_pays_and_used_from_then_on(
    network: PlaceNetwork, file: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "PHOTOS_BEFORE_GRAPH", 5)
    photos = make_photos(8)
    expected = Encoder.create(network).encode(photos)
    encoder = Encoder.create(load(file), engine="auto", batch_size=2)
    first = encoder.encode(photos[:4])
    assert encoder.engine.name == "PyTorch, cpu" and not empty_cache.exists()
    second = encoder.encode(photos[4:])
    assert encoder.engine.name == ONNX
    np.testing.assert_allclose(np.concatenate([first, second]), expected, atol=1e-5)
    model = load(file)
    assert isinstance(model, ExportedModel) and model.spec == load_model_file(file).spec
    assert Encoder.create(model).fingerprint == encoder.fingerprint == compute_fingerprint(network)
    np.testing.assert_allclose(model.encode(photos), expected, atol=1e-5)
    assert isinstance(load(file, "openvino"), ExportedModel)  # one graph serves both runtimes
    assert not isinstance(load(file, "torch"), ExportedModel)
    assert not isinstance(load(file, None), ExportedModel)


def test_a_published_state_dict_finds_its_graph(network: PlaceNetwork, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(network.state_dict(), path)
    asked = {"backbone": "timm:test_resnet", "descriptor_dim": 8}
    assert not isinstance(load_runnable(path, engine="auto", **asked), ExportedModel)
    loaded = load_model_file(path, **asked)
    Encoder.create(loaded, engine="onnx").encode(make_photos(1))
    model = load_runnable(path, engine="auto", **asked)
    assert isinstance(model, ExportedModel)
    np.testing.assert_allclose(model.encode(make_photos(2)), loaded.encode(make_photos(2)), atol=1e-5)
    with pytest.raises(ProgeoError, match="`backbone`"):
        load_runnable(path, engine="auto")
    with torch.no_grad():
        next(network.parameters()).view(-1)[0] += 1e-3
    torch.save(network.state_dict(), path)
    assert not isinstance(load_runnable(path, engine="auto", **asked), ExportedModel)


def test_an_engine_that_is_named_is_used_from_the_first_batch_on(network: PlaceNetwork, file: Path) -> None:
    photos = make_photos(3)
    expected = Encoder.create(network).encode(photos)
    for engine, name in (("onnx", ONNX), ("openvino", "OpenVINO, CPU")):
        encoder = Encoder.create(load_model_file(file), engine=engine, batch_size=1)
        np.testing.assert_allclose(encoder.encode(photos), expected, atol=1e-5)
        assert encoder.engine.name == name


def test_the_graph_of_other_weights_is_never_used(network: PlaceNetwork, file: Path) -> None:
    Encoder.create(network, engine="onnx").encode(make_photos(1))
    assert isinstance(load(file), ExportedModel)
    with torch.no_grad():
        next(network.backbone.parameters()).view(-1)[0] += 1e-3
    save_model(file, network)
    model = load(file)
    assert not isinstance(model, ExportedModel)
    expected = Encoder.create(model).encode(make_photos(2))
    np.testing.assert_allclose(Encoder.create(model, engine="onnx").encode(make_photos(2)), expected, atol=1e-5)


@pytest.mark.parametrize("damage", ["flipped", "half", "no note", "bad note", "other name"])
def test_a_damaged_graph_is_not_used_and_made_anew(
    damage: str, network: PlaceNetwork, file: Path, empty_cache: Path
) -> None:
    Encoder.create(network, engine="onnx").encode(make_photos(1))
    (graph,) = empty_cache.glob("*.onnx")
    note = graph.with_suffix(".json")
    if damage == "no note":
        note.unlink()
    elif damage == "bad note":
        note.write_text("{")
    elif damage == "other name":
        content = json.loads(note.read_text())
        note.write_text(json.dumps(content | {"fingerprint": "0" * 64}))
    else:
        content = bytearray(graph.read_bytes())
        content[len(content) // 2] ^= 1
        graph.write_bytes(content[: len(content) // 2] if damage == "half" else content)
    assert not isinstance(load(file), ExportedModel)
    Encoder.create(network, engine="onnx").encode(make_photos(1))
    assert isinstance(load(file), ExportedModel)


def test_a_graph_that_gives_something_else_falls_back_with_one_line(
    network: PlaceNetwork, empty_cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = create_model("timm:test_resnet", descriptor_dim=8, weights="none", seed=1).eval()
    from progeo.models.export import export_graph

    graph = export_graph(other)
    monkeypatch.setattr("progeo.models.export.export_graph", lambda network: graph)
    expected = Encoder.create(network).encode(make_photos(4))
    encoder = Encoder.create(network, engine="onnx", batch_size=2)
    np.testing.assert_array_equal(encoder.encode(make_photos(4)), expected)
    assert len(caplog.messages) == 1
    assert "PyTorch goes on running this model, not `engine` onnx: the descriptors of its graph differ" in caplog.text
    assert not empty_cache.exists()


def test_a_cache_that_cannot_be_written_costs_one_line(
    network: PlaceNetwork, empty_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    empty_cache.parent.parent.mkdir(parents=True, exist_ok=True)
    empty_cache.parent.write_text("a file")
    encoder = Encoder.create(network, engine="onnx", batch_size=1)
    encoder.encode(make_photos(2))
    assert encoder.engine.name == ONNX
    (warning,) = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert "not kept for the next time" in warning


class Mean(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(2, 3))


class Vector(nn.Module):
    def forward(self, features: Any) -> Any:
        return features.cls


def test_code_of_others_runs_in_torch_and_says_why(
    network: PlaceNetwork, empty_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = PlaceNetwork.compose(Mean(), Vector(), preprocessing=network.preprocessing)
    encoder = Encoder.create(own, engine="onnx")
    encoder.encode(make_photos(1))
    assert encoder.engine.name == "PyTorch, cpu" and not empty_cache.exists()
    assert "not `engine` onnx: its part Mean is of" in caplog.text
    network.backbone.is_foreign = True  # type: ignore[assignment]
    assert Encoder.create(network, engine="openvino").engine.name == "PyTorch, cpu"
    assert "not `engine` openvino: it is code of others" in caplog.text


def test_auto_leaves_transformers_to_torch(tmp_path: Path) -> None:
    network = create_model("timm:test_vit", descriptor_dim=8, weights="none").eval()
    network.preprocessing = dataclasses.replace(network.preprocessing, image_size=64, square=True)
    assert type(Encoder.create(network, engine="auto").engine).__name__ == "TorchEngine"
    Encoder.create(network, engine="onnx").encode(make_photos(1))
    save_model(tmp_path / "vit", network)
    assert not isinstance(load(tmp_path / "vit"), ExportedModel)
    assert isinstance(load(tmp_path / "vit", "onnx"), ExportedModel)


def test_without_runtimes_everything_works_and_the_line_names_the_extra(
    network: PlaceNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "find_runtime", lambda: None)
    encoder = Encoder.create(network, engine="auto")
    assert encoder.engine.name.startswith("PyTorch, cpu") and "[onnx]" in encoder.engine.name
    assert encoder.encode(make_photos(2)).shape == (2, 8)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ProgeoError, match=r"engine onnx needs onnxruntime.*\[onnx\]"):
        Encoder.create(network, engine="onnx")
    with pytest.raises(ProgeoError, match=r"`engine` is auto, torch, onnx or openvino, not 'tensorrt'"):
        Encoder.create(network, engine="tensorrt")


def test_files_have_the_fingerprint_of_their_network(file: Path, tmp_path: Path) -> None:
    network = load_model_file(file)
    assert fingerprint_file(file) == (compute_fingerprint(network), network.spec)
    other = create_model("ResNet18", head="gem", head_arguments={"p": 2.0}, descriptor_dim=8, weights="none")
    save_model(tmp_path / "other", other)
    assert fingerprint_file(tmp_path / "other") == (
        compute_fingerprint(other),
        load_model_file(tmp_path / "other").spec,
    )
    (tmp_path / "nothing").write_bytes(b"nothing")
    assert fingerprint_file(tmp_path / "nothing") is None


def test_precision_on_a_processor_without_bf16_is_float32_and_one_line(
    network: PlaceNetwork, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    choose_precision.cache_clear()
    monkeypatch.setattr("progeo.devices.has_bf16_instructions", lambda: False)
    expected = Encoder.create(network).encode(make_photos(2))
    caplog.set_level(logging.WARNING)
    encoder = Encoder.create(network, precision="half")
    np.testing.assert_array_equal(encoder.encode(make_photos(2)), expected)
    assert len(caplog.messages) == 1 and "no instructions for bf16: using float32" in caplog.text
    choose_precision.cache_clear()
    monkeypatch.setattr("progeo.devices.has_bf16_instructions", lambda: True)
    encoder = Encoder.create(network, precision="half")
    assert encoder.engine.name == "PyTorch, cpu, bf16"
    assert np.linalg.norm(encoder.encode(make_photos(2)) - expected, axis=1).max() < 3e-2
    with pytest.raises(ProgeoError, match="`precision` is float32, half, bf16 or fp16, not 'int8'"):
        Encoder.create(network, precision="int8")
    choose_precision.cache_clear()


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16", "half"])
def test_half_precision_on_a_gpu_agrees_with_float32(precision: str, network: PlaceNetwork) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    expected: NDArray[np.float32] = Encoder.create(network, device="cuda").encode(make_photos(8))
    encoder = Encoder.create(network, device="cuda", precision=precision)
    assert np.linalg.norm(encoder.encode(make_photos(8)) - expected, axis=1).max() < 1e-2
    assert encoder.engine.name in ("PyTorch, cuda, bf16", "PyTorch, cuda, fp16")
