"""The factory and the preprocessing that comes with the network."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from progeo.errors import ProgeoError
from progeo.models.building import create_model
from progeo.models.images import normalize
from progeo.pixels.recipe import Preprocessing


def test_normalisation_is_that_of_imagenet_by_default() -> None:
    images = torch.rand(2, 3, 4, 5)
    normalised = normalize(images, Preprocessing())
    torch.testing.assert_close(normalised[1, 2, 3, 4], (images[1, 2, 3, 4] - 0.406) / 0.225)
    torch.testing.assert_close(normalize(images[0], Preprocessing()), normalised[0])


def test_normalisation_keeps_the_type_of_the_images() -> None:
    assert normalize(torch.rand(1, 3, 2, 2, dtype=torch.float64), Preprocessing()).dtype == torch.float64


@pytest.mark.parametrize("dimension", [0, -3, 1.5, True, "64"])
def test_dimension_must_be_a_positive_whole_number(dimension: Any) -> None:
    with pytest.raises(ProgeoError, match=f"`descriptor_dim` must be a positive whole number, not {dimension!r}"):
        create_model("ResNet18", descriptor_dim=dimension, weights="none")


def test_any_dimension_works_and_gradients_reach_only_what_is_trained() -> None:
    network = create_model("ResNet18", descriptor_dim=7, weights="none")
    assert network.training and network.spec.provenance == {}
    assert (network.backbone_name, network.descriptor_dim) == ("ResNet18", 7)
    network(torch.rand(2, 3, 40, 32)).sum().backward()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
