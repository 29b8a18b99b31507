from __future__ import annotations

import pytest
import torch
from torch import nn

from progeo.models.building import create_model
from progeo.models.network import PlaceNetwork


def create(name: str) -> PlaceNetwork:
    """A network in eval mode, with statistics as if it had been trained."""
    torch.manual_seed(0)
    network = create_model(name, weights="none").eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    network.set_image_size(64)
    return network


def count_norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize("name", ["ResNet18", "EfficientNet-Lite0", "EfficientNet_B0", "timm:test_efficientnet"])
def test_same_descriptors_without_batch_normalisation(name: str) -> None:
    network = create(name)
    before = count_norms(network)
    folded = network.fold()
    assert before > 0
    assert (count_norms(network), count_norms(folded)) == (before, 0)
    images = torch.rand(2, 3, 48, 80)
    with torch.no_grad():
        torch.testing.assert_close(folded(images), network(images), rtol=1e-4, atol=1e-5)


def test_without_batch_normalisation_it_is_the_network_itself() -> None:
    network = create("VGG16")
    assert network.fold() is network


def test_where_the_order_of_modules_is_not_that_of_the_work_nothing_is_folded() -> None:
    class Reversed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, 3, 3, padding=1)
            self.norm = nn.BatchNorm2d(3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.as_tensor(self.convolution(self.norm(images).relu()))

    network = create("ResNet18")
    network.backbone = nn.Sequential(Reversed(), network.backbone).eval()
    statistics = network.backbone[0].norm.running_mean
    statistics.copy_(torch.tensor([0.5, -0.5, 0.25]))
    assert network.fold() is network
