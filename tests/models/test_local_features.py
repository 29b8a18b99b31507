"""Local features: the maps of an earlier stage, from the same forward pass as the descriptors."""

from __future__ import annotations

import dataclasses
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from progeo.errors import ProgeoError
from progeo.models.building import create_model
from progeo.models.encoder import Encoder
from progeo.models.features import Features
from progeo.models.files import load_model_file, save_model
from progeo.models.heads.registry import _HEADS, register_head
from progeo.models.network import PlaceNetwork
from progeo.pixels.recipe import Preprocessing


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("EfficientNet-Lite0", (112, 4, 6)),
        ("EfficientNet_B0", (112, 4, 6)),
        ("ResNet18", (256, 4, 6)),
        ("VGG16", (512, 4, 6)),
        ("timm:resnet10t", (256, 4, 6)),
        ("timm:test_vit", (64, 4, 6)),
        ("CLIP-RN50", (1024, 4, 6)),
        ("CLIP-ViT-B-16", (768, 4, 6)),
    ],
)
def test_each_backbone_gives_local_features_at_stride_16(name: str, shape: tuple[int, ...]) -> None:
    network = create_model(name, weights="none").eval()
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        descriptors, local = network.forward_with_local(images)
        torch.testing.assert_close(descriptors, network(images))
        torch.testing.assert_close(local, network.local_features(images))
    assert tuple(local.shape) == (2, *shape)
    assert network.local_channels == shape[0]
    torch.testing.assert_close(local.norm(dim=1), torch.ones(2, *shape[1:]))


def test_the_encoder_gives_both_for_pixels_of_any_size() -> None:
    network = create_model("EfficientNet-Lite0", weights="none").eval()
    generator = np.random.default_rng(0)
    sizes = [(64, 96), (96, 64), (64, 96)]
    items = [(number, generator.integers(0, 256, (*size, 3), dtype=np.uint8)) for number, size in enumerate(sizes)]
    encoder = Encoder.create(network, batch_size=2)
    found: dict[int, Any] = {}
    for keys, descriptors, local in encoder.encode_pixels_with_local(items):
        assert [str(array.dtype) for array in (descriptors, local)] == ["float32", "float16"]
        found.update(zip(keys, zip(descriptors, local, strict=True), strict=True))
    plain = {key: row for keys, rows in encoder.encode_pixels(items) for key, row in zip(keys, rows, strict=True)}
    for key, (height, width) in enumerate(sizes):
        np.testing.assert_allclose(found[key][0], plain[key], atol=1e-5)
        assert found[key][1].shape == (112, height // 16, width // 16)


class _MeanOfStages(nn.Module):
    """A head that reads the local stage and an earlier one by its name."""

    stages = ("local", "blocks.2")

    def __init__(self, shapes: Any, descriptor_dim: int) -> None:
        super().__init__()

    def forward(self, features: Features) -> torch.Tensor:
        return torch.cat([features.stages[name].mean(dim=(2, 3)) for name in self.stages], dim=1)


def test_a_head_of_earlier_stages_is_folded_saved_and_exported(tmp_path: Path) -> None:
    register_head("mean-of-stages")(_MeanOfStages)
    try:
        network = create_model("EfficientNet-Lite0", head="mean-of-stages", descriptor_dim=152, weights="none").eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
        images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            expected = network(images)
            assert expected.shape == (1, 112 + 40)
            folded = network.fold()
            assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
            torch.testing.assert_close(folded(images), expected, rtol=1e-3, atol=1e-4)
            save_model(tmp_path / "model.safetensors", network)
            torch.testing.assert_close(load_model_file(tmp_path / "model.safetensors")(images), expected)
        onnxruntime = pytest.importorskip("onnxruntime")
        graph = BytesIO()
        torch.onnx.export(network, (images,), graph, dynamo=False)  # type: ignore[arg-type]
        session = onnxruntime.InferenceSession(graph.getvalue())
        [found] = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    finally:
        del _HEADS["mean-of-stages"]


class _ClassToken(nn.Module):
    def forward(self, features: Features) -> torch.Tensor | None:
        return features.cls


def test_a_model_without_local_features_says_so() -> None:
    backbone = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
    network = PlaceNetwork.compose(backbone, _ClassToken(), preprocessing=Preprocessing(32))
    for give in (network.local_features, network.forward_with_local):
        with pytest.raises(ProgeoError, match="Sequential has no local features.*EfficientNet-Lite0"):
            give(torch.rand(1, 3, 32, 32))


def test_an_engine_without_local_features_says_so() -> None:
    network = create_model("ResNet18", weights="none").eval()

    class Graph:
        def describe(self, pixels: Any, preprocessing: Preprocessing) -> Any:
            return np.zeros((len(pixels), 512), dtype=np.float32)

    encoder = Encoder(network, Graph(), preprocessing=dataclasses.replace(network.preprocessing, native=True))
    with pytest.raises(ProgeoError, match="Graph gives no local features"):
        list(encoder.encode_pixels_with_local([(0, np.zeros((32, 32, 3), dtype=np.uint8))]))
