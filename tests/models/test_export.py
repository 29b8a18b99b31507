"""Graphs: what the runtimes give agrees with PyTorch for every family; nothing half or foreign is ever used."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import nn

from progeo import fit
from progeo.errors import ProgeoError
from progeo.models import export
from progeo.models.building import create_model
from progeo.models.encoder import Encoder
from progeo.models.engines.graphs import ExportedModel, open_graph
from progeo.models.export import export_graph, export_model
from progeo.models.files import save_model
from progeo.models.loading import load_model
from progeo.models.network import PlaceNetwork
from progeo.pixels.recipe import Preprocessing

SIZE = 64
FAMILIES = ("ResNet18", "VGG16", "EfficientNet_B0", "rn", "vit", "timm:test_vit", "LiteCLIP")
RUNTIMES = ("onnx", "openvino")


def make_network(name: str, **preprocessing: Any) -> PlaceNetwork:
    """A network with random weights that takes small photos; transformers take squares."""
    network = create_model(name, weights="none").eval()
    is_square = "vit" in name
    own = dataclasses.replace(network.preprocessing, image_size=SIZE, square=is_square, **preprocessing)
    network.preprocessing = own
    return network


@pytest.fixture(scope="module")
def small() -> PlaceNetwork:
    return make_network("timm:test_resnet")


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    generator = np.random.default_rng(0)
    sizes = [(96, 72), (72, 96), (80, 64)]
    return [
        Image.fromarray(generator.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
        for size in sizes
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_the_same_in_every_engine(
    family: str, tiny_clips: dict[str, str], photos: list[Image.Image]
) -> None:
    network = make_network(tiny_clips.get(family, family))
    graph = export_graph(network)
    expected = Encoder.create(network).encode(photos)
    for runtime in RUNTIMES:
        model = open_graph(graph, engine=runtime)
        assert (model.spec, model.fingerprint) == (network.spec, Encoder.create(network).fingerprint)
        encoder = Encoder.create(model)
        np.testing.assert_allclose(encoder.encode(photos), expected, atol=1e-5 * np.abs(expected).max())
        pixels = [(number, encoder.read(photo)) for number, photo in enumerate(photos)]
        local = {keys[0]: maps for keys, _, maps in encoder.encode_pixels_with_local(pixels)}
        for (keys, _, maps), number in zip(
            Encoder.create(network).encode_pixels_with_local(pixels), local, strict=True
        ):
            assert keys[0] == number
            np.testing.assert_allclose(local[number], maps, atol=2e-3)


@pytest.mark.parametrize("components", [0, 5])
def test_fitted_heads_are_in_the_graph(
    components: int, small: PlaceNetwork, photos: list[Image.Image], tmp_path: Path
) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(9)]
    for number, path in enumerate(paths):
        photos[number % 3].rotate(10 * number).save(path)
    network = fit(paths, small, head="vlad", words=4, pca=components)
    export_model(network, tmp_path / "model.onnx")
    expected = Encoder.create(network).encode(paths)
    for runtime in RUNTIMES:
        model = open_graph(tmp_path / "model.onnx", engine=runtime)
        assert model.spec == network.spec
        assert model.descriptor_dim == (components or network.descriptor_dim)
        np.testing.assert_allclose(Encoder.create(model).encode(paths), expected, atol=1e-5)


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_an_exported_model_is_a_model(
    suffix: str, small: PlaceNetwork, photos: list[Image.Image], tmp_path: Path
) -> None:
    path = tmp_path / f"model{suffix}"
    card = export_model(small, path)
    assert card.size is None
    model = load_model(path)
    assert isinstance(model, ExportedModel)
    assert ("ONNX Runtime, CPUExecutionProvider" if suffix == ".onnx" else "OpenVINO, CPU") in model.engine.name
    np.testing.assert_allclose(model.encode(photos), small.encode(photos), atol=1e-5)
    again = open_graph(model.read_content())
    np.testing.assert_array_equal(again.encode(photos), model.encode(photos))
    # The photo beside it tells other programs whether they read photos as progeo does.
    note = json.loads((tmp_path / "model.reference.json").read_text())
    np.testing.assert_allclose(model.encode(tmp_path / note["photo"])[0], note["descriptor"], atol=1e-5)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("model.reference.json", "model.reference.png", f"model{suffix}"),
        *(["model.bin"] if suffix == ".xml" else []),
    }


def test_squares_get_a_graph_of_their_size(tmp_path: Path) -> None:
    network = make_network("timm:test_vit")
    export_model(network, tmp_path / "model.onnx")
    model = load_model(tmp_path / "model.onnx")
    assert isinstance(model, ExportedModel)
    with pytest.raises(ProgeoError, match=r"64 x 64 pixels only, not 48 x 32.*model file"):
        model.engine.describe(np.zeros((1, 32, 48, 3), np.uint8), network.preprocessing)
    with pytest.raises(ProgeoError, match="`mean`"):
        model.engine.describe(np.zeros((1, 64, 64, 3), np.uint8), Preprocessing(64, mean=(0.0, 0.0, 0.0)))


class _Constant(nn.Module):
    """Computes in Python what a trace of it takes for a constant."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        side = float(images.detach().mean()) if images.shape[-1] < 70 else 0.5
        return images.mean(dim=(2, 3)) + side


class _Refused(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.linalg.lu_factor(images @ images.transpose(2, 3))[0][:, :, :2].flatten(1)


class _Vector(nn.Module):
    def forward(self, features: Any) -> Any:
        return features.cls


@pytest.mark.parametrize(
    ("backbone", "reason"),
    [(_Constant(), "differ from PyTorch's by"), (_Refused(), "_Refused cannot be exported.*lu_factor")],
    ids=["differs", "refused"],
)
def test_a_graph_that_is_not_the_network_is_removed_with_the_reason(
    backbone: nn.Module, reason: str, small: PlaceNetwork, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    export_model(small, path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    network = PlaceNetwork.compose(backbone, _Vector(), preprocessing=Preprocessing(SIZE))
    with pytest.raises(ProgeoError, match=rf"{reason}.*`square`"):
        export_model(network, path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_bad_graphs_say_what_to_do(small: PlaceNetwork, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    content = export_graph(small)
    graph = onnx.load_model_from_string(content)

    def write(**changes: Any) -> Path:
        other = onnx.load_model_from_string(content)
        if "opset" in changes:
            other.opset_import[0].version = changes["opset"]
        if "properties" in changes:
            del other.metadata_props[:]
            onnx.helper.set_model_props(other, changes["properties"])
        path.write_bytes(other.SerializeToString())
        return path

    properties = {entry.key: entry.value for entry in graph.metadata_props}
    with pytest.raises(ProgeoError, match=r"model.onnx is a graph that does not say what model.*progeo export"):
        load_model(write(properties={}))
    with pytest.raises(ProgeoError, match=r"model.onnx is a graph of format 9.*update progeo"):
        load_model(write(properties=properties | {"progeo_format": "9"}))
    with pytest.raises(ProgeoError, match=r"inside .*model.onnx is damaged"):
        load_model(write(properties=properties | {"progeo_spec": "{"}))
    with pytest.raises(ProgeoError, match=r"ONNX Runtime cannot open .*model.onnx.*Export the model again.*update"):
        load_model(write(opset=99))
    path.write_bytes(content[:-2000])
    with pytest.raises(ProgeoError, match=r"ONNX Runtime cannot open .*model.onnx.*damaged.*export the model again"):
        load_model(path)
    with pytest.raises(ProgeoError, match=r"OpenVINO cannot open .*model.onnx.*damaged.*export the model again"):
        open_graph(path, engine="openvino")
    with pytest.raises(ProgeoError, match=r"no graph .*nothing.onnx"):
        load_model(tmp_path / "nothing.onnx")
    with pytest.raises(ProgeoError, match=r"leave out `backbone`"):
        load_model(path, backbone="ResNet18")
    with pytest.raises(ProgeoError, match=r"model.pb.*\.onnx .*\.xml"):
        export_model(small, tmp_path / "model.pb")


def test_a_graph_of_openvino_is_two_files_that_belong_together(small: PlaceNetwork, tmp_path: Path) -> None:
    path = tmp_path / "model.xml"
    export_model(small, path)
    weights = path.with_suffix(".bin")
    content = bytearray(weights.read_bytes())
    content[100] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ProgeoError, match=r"model.bin does not belong to .*model.xml.*export the model again"):
        load_model(path)
    weights.unlink()
    with pytest.raises(ProgeoError, match=r"weights .*model.bin are missing"):
        load_model(path)
    path.write_text("<net")
    weights.write_bytes(content)
    with pytest.raises(ProgeoError, match=r"OpenVINO cannot open .*model.xml"):
        load_model(path)


def test_a_missing_or_refusing_runtime_is_one_line(
    small: PlaceNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(export_graph(small))

    class Core:
        available_devices = ("GPU",)

    monkeypatch.setattr("openvino.Core", Core)
    with pytest.raises(ProgeoError, match=r"OpenVINO does not run on this processor.*`engine` onnx or torch"):
        open_graph(path, engine="openvino")
    with pytest.raises(ProgeoError, match=r"`device` cuda.*CPUExecutionProvider.*onnxruntime-gpu"):
        load_model(path, device="cuda")
    with pytest.raises(ProgeoError, match=r"exported graph, which PyTorch does not run"):
        open_graph(path, engine="torch")
    for library, extra in (("onnxruntime", "onnx"), ("openvino", "openvino")):
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(ProgeoError, match=rf'engine {extra} needs {library}.*pip install .*\[{extra}\]"'):
            open_graph(path, engine=extra)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ProgeoError, match=r'Exporting needs onnx.*pip install .*\[export\]"'):
        export_model(small, tmp_path / "other.onnx")


def test_a_full_disk_leaves_what_was_there(
    small: PlaceNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.xml"
    export_model(small, path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def fail(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "_write_reference", fail)
    with pytest.raises((ProgeoError, OSError), match="No space left"):
        export_model(small, path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


KILLED = """
import sys, time
from progeo.models import export
from progeo.models.files import load_model_file
def wait(*arguments):
    print("written", flush=True)
    time.sleep(60)
export.check_graph = wait
export.export_model(load_model_file(sys.argv[1]), sys.argv[2])
"""


def test_killed_during_export_leaves_no_graph(small: PlaceNetwork, tmp_path: Path) -> None:
    save_model(tmp_path / "model.safetensors", small)
    words = [sys.executable, "-c", KILLED, str(tmp_path / "model.safetensors"), str(tmp_path / "model.onnx")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout and process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "model.onnx").exists()
