"""Heads by name, on every kind of backbone; and which blocks of a backbone are trained."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from progeo.errors import ProgeoError
from progeo.models.backbones.create import create_backbone, find_backbone
from progeo.models.building import create_model
from progeo.models.features import FeatureShapes, as_features
from progeo.models.heads import create_head, list_heads


def test_features_of_every_kind_of_backbone(tiny_clips: dict[str, str]) -> None:
    for name, has_class_token in (
        ("ResNet18", False),
        ("timm:test_resnet", False),
        ("timm:test_vit", True),
        (tiny_clips["rn"], False),
        (tiny_clips["vit"], True),
    ):
        entry = find_backbone(name)
        backbone = create_backbone(entry, weights="none").eval()
        shapes = entry.shapes(backbone)
        with torch.no_grad():
            features = as_features(backbone(torch.rand(2, 3, 64, 96)))
        assert features.map is not None and features.tokens is not None
        batch, channels, height, width = features.map.shape
        assert (batch, channels) == (2, shapes.map)
        assert features.tokens.shape == (2, height * width, shapes.tokens)
        torch.testing.assert_close(features.map.flatten(2).transpose(1, 2), features.tokens)
        assert (features.cls is not None) == has_class_token == (shapes.cls is not None)
        if features.cls is not None:
            assert features.cls.shape == (2, shapes.cls)


def test_class_tokens_are_those_of_the_library() -> None:
    network = create_model("timm:test_vit", head="identity", weights="none").eval()
    images = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        expected = network.backbone.network.forward_features(images)[:, 0]  # type: ignore[operator, union-attr]
        torch.testing.assert_close(network(images), expected)
    network = create_model("timm:test_vit", head="cls", weights="none").eval()
    torch.testing.assert_close(network(images).norm(dim=1), torch.ones(2))


def test_gem_without_projection_has_the_channels_of_the_map() -> None:
    network = create_model("ResNet18", descriptor_dim=512, head_arguments={"projection": False}, weights="none").eval()
    assert [name for name in network.state_dict() if name.startswith("aggregation")] == ["aggregation.1.p"]
    with pytest.raises(ProgeoError, match="Without projection the descriptors have 512 dimensions"):
        create_model("ResNet18", descriptor_dim=8, head_arguments={"projection": False}, weights="none")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head": "cls"}, "Head 'cls' needs a class token, but ResNet18 gives a feature map .512. and tokens .512."),
        ({"head": "gen"}, r"no head 'gen' \(did you mean gem\?\). The heads are: boq, cls, gem, identity, mixvpr"),
        ({"head_arguments": {"q": 3}}, "Head 'gem' cannot be made with .* q=3"),
        (
            {"head": "salad"},
            "Head 'salad' needs a class token, but ResNet18 gives a feature map .512. and tokens .512.",
        ),
        (
            {"head": "boq", "descriptor_dim": 500},
            "multiple of its 512 `channels`: use for example `descriptor_dim` 512",
        ),
        ({"head": "boq", "head_arguments": {"channels": 100}}, "`channels` 100 is no multiple of 64"),
        ({"head": "mixvpr", "descriptor_dim": 510}, "multiple of its 4 `rows`: use for example `descriptor_dim` 512"),
    ],
)
def test_heads_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ProgeoError, match=message):
        create_model("ResNet18", weights="none", **settings)


def test_heads_are_listed() -> None:
    assert list_heads() == ["boq", "cls", "gem", "identity", "mixvpr", "netvlad", "pca", "salad", "vlad"]
    assert create_head("gem", FeatureShapes(map=7), default_dim=9)[1] == 9


def test_seeds_decide_the_random_weights_and_leave_the_generator_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = (create_model("timm:test_resnet", weights="none", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    weights = [network.aggregation[3].weight for network in (one, same, other)]  # type: ignore[index, union-attr]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("name", "count", "trained", "frozen"),
    [
        ("ResNet18", 1, "7.1.conv2.weight", "6.1.conv2.weight"),
        ("VGG16", 2, "17.weight", "14.weight"),
        ("EfficientNet_B0", 1, "0.7.0.block.0.0.weight", "0.6.0.block.0.0.weight"),
        ("EfficientNet_B0", 1, "0.8.0.weight", "0.6.0.block.0.0.weight"),
        ("EfficientNet-Lite0", 2, "blocks.5.0.conv_pw.weight", "blocks.4.0.conv_pw.weight"),
        ("EfficientNet-Lite0", 2, "conv_head.weight", "conv_stem.weight"),
        ("timm:test_vit", 2, "network.blocks.4.attn.qkv.weight", "network.blocks.3.attn.qkv.weight"),
        ("timm:test_vit", 1, "network.norm.weight", "network.pos_embed"),
        ("timm:test_resnet", 1, "network.layer4.0.conv1.weight", "network.layer3.0.conv1.weight"),
        (
            "timm:convnext_atto",
            1,
            "network.stages.3.blocks.0.conv_dw.weight",
            "network.stages.2.blocks.0.conv_dw.weight",
        ),
        ("rn", 1, "layer4.0.conv1.weight", "layer3.0.conv1.weight"),
        ("vit", 1, "proj", "positional_embedding"),
        ("vit", 1, "transformer.resblocks.1.attn.in_proj_weight", "transformer.resblocks.0.attn.in_proj_weight"),
    ],
)
def test_the_last_stages_are_trained(
    name: str, count: int, trained: str, frozen: str, tiny_clips: dict[str, str]
) -> None:
    entry = find_backbone(tiny_clips.get(name, name))
    with torch.device("meta"):
        backbone = create_backbone(entry, weights="none", unfreeze=count)
        nothing = create_backbone(entry, weights="none", unfreeze=0)
    parameters = dict(backbone.named_parameters())
    assert parameters[trained].requires_grad and not parameters[frozen].requires_grad
    assert not any(parameter.requires_grad for parameter in nothing.parameters())


def test_stages_that_are_not_there_or_said_twice() -> None:
    with pytest.raises(ProgeoError, match="`unfreeze` 5: ResNet18 has 4 stages, so give 0 to 4"):
        create_model("ResNet18", weights="none", unfreeze=5)
    with pytest.raises(ProgeoError, match="`unfreeze` and `train_all_layers` both say"):
        create_model("ResNet18", weights="none", unfreeze=1, train_all_layers=True)
    with pytest.raises(ProgeoError, match="`unfreeze` and `freeze_trans` both say"):
        create_model("CLIP-ViT-B-16", weights="none", unfreeze=1, frozen_stages=2)
