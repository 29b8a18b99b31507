"""The aggregation against its formulas."""

from __future__ import annotations

import pytest
import torch

from progeo.models.features import as_features, map_shapes
from progeo.models.heads.gem import GeM, GemHead, L2Norm


def test_gem_with_exponent_one_is_the_mean() -> None:
    features = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(GeM(p=1)(features)[:, :, 0, 0], features.mean(dim=(2, 3)))


def test_gem_is_the_cubic_mean_at_first_and_lifts_what_is_below_eps() -> None:
    features = torch.tensor([[[[1.0, 2.0], [-5.0, 0.0]]]])
    torch.testing.assert_close(GeM()(features).item(), ((1 + 8) / 4) ** (1 / 3))


def test_gem_learns_its_exponent() -> None:
    pooling = GeM()
    pooling(torch.rand(1, 2, 3, 3)).sum().backward()
    assert pooling.p.grad is not None and pooling.p.grad.abs().item() > 0


def test_l2norm_gives_unit_length_over_channels() -> None:
    normalised = L2Norm()(torch.rand(2, 7, 3, 4))
    torch.testing.assert_close(normalised.norm(dim=1), torch.ones(2, 3, 4))


@pytest.mark.parametrize("size", [(1, 1), (3, 5)])
def test_aggregation_takes_maps_of_any_size(size: tuple[int, int]) -> None:
    aggregation = GemHead(map_shapes(8), 5)
    descriptors = aggregation(as_features(torch.rand(2, 8, *size)))
    assert descriptors.shape == (2, 5)
    torch.testing.assert_close(descriptors.norm(dim=1), torch.ones(2))
    assert list(aggregation.state_dict()) == ["1.p", "3.weight", "3.bias"]
