"""DINOv2: its features, its sizes, and what of it is trained."""

from __future__ import annotations

import pytest
import torch

from progeo.errors import ProgeoError
from progeo.models.backbones.create import create_backbone, find_backbone
from progeo.models.building import create_model


@pytest.fixture(scope="module")
def backbone() -> torch.nn.Module:
    return create_backbone(find_backbone("DINOv2-S"), weights="none").eval()


def test_it_gives_patches_and_a_class_token(backbone: torch.nn.Module) -> None:
    with torch.no_grad():
        features = backbone(torch.rand(1, 3, 42, 70))
    assert features.map.shape == (1, 384, 3, 5)
    assert features.cls.shape == (1, 384)
    torch.testing.assert_close(features.map.flatten(2).transpose(1, 2), features.tokens)


def test_at_its_own_size_it_is_the_network_of_timm() -> None:
    backbone = create_backbone(find_backbone("DINOv2-S"), weights="none").eval()
    backbone.network.blocks = backbone.network.blocks[:1]  # type: ignore[index, union-attr]
    images = torch.rand(1, 3, 518, 518)
    with torch.no_grad():
        expected = backbone.network.forward_features(images)  # type: ignore[operator, union-attr]
        torch.testing.assert_close(backbone(images).tokens, expected[:, 1:], rtol=1e-4, atol=1e-4)


def test_sizes_are_multiples_of_the_patch(backbone: torch.nn.Module) -> None:
    with pytest.raises(ProgeoError, match="patches of 14 x 14 pixels, and 100 x 70 is no multiple.*example 98 x 70"):
        backbone(torch.rand(1, 3, 70, 100))
    with torch.device("meta"):
        network = create_model("DINOv2-S", weights="none")
        with pytest.raises(ProgeoError, match="`image_size` 320 is no multiple of 14.*DINOv2-S: .*`image_size` 322"):
            network.set_image_size(320)
        with pytest.raises(ProgeoError, match="`image_size` 512 is no multiple of 14"):
            create_model("DINOv2-S", weights="none", image_size=512)


def test_the_last_four_blocks_are_trained() -> None:
    with torch.device("meta"):
        network = create_model("DINOv2-S", weights="none")
        two = create_model("DINOv2-S", weights="none", unfreeze=2)
        plain = create_backbone(find_backbone("DINOv2-S", norm=False), weights="none")
    for model, first in ((network, 8), (two, 10)):
        trained = {
            name.removeprefix("backbone.network.")
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and name.startswith("backbone.")
        }
        assert {name.split(".")[1] for name in trained if name.startswith("blocks.")} == set(map(str, range(first, 12)))
        assert {name for name in trained if not name.startswith("blocks.")} == {"norm.weight", "norm.bias"}
    assert not [name for name in plain.state_dict() if name.startswith("network.norm.")]
