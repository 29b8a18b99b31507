"""One training step with each head on each family of backbones."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from progeo.errors import ProgeoError
from progeo.models.building import create_model
from progeo.models.features import Features, FeatureShapes
from progeo.models.heads.mixvpr import MixVprHead
from progeo.models.heads.netvlad import NetVladHead
from progeo.models.heads.salad import SaladHead

CNN, VIT, VIT_WITHOUT_CLASS_TOKEN = "timm:test_resnet", "timm:test_vit", "timm:test_vit2"
SMALL: dict[str, dict[str, Any]] = {
    "gem": {},
    "cls": {},
    "salad": {"clusters": 8, "cluster_dim": 4, "token_dim": 16, "hidden_dim": 32},
    "boq": {"channels": 64, "queries": 8},
    "mixvpr": {"depth": 2},
    "netvlad": {"clusters": 8},
}


@pytest.mark.parametrize("head", SMALL)
@pytest.mark.parametrize("backbone", [CNN, VIT, VIT_WITHOUT_CLASS_TOKEN])
def test_every_head_learns_on_every_backbone_that_has_what_it_needs(backbone: str, head: str) -> None:
    settings: dict[str, Any] = {"head": head, "weights": "none", "image_size": 96, "head_arguments": SMALL[head]}
    if head in ("cls", "salad") and backbone != VIT:
        with pytest.raises(ProgeoError, match=f"Head '{head}' needs a class token, but {backbone} gives a feature map"):
            create_model(backbone, **settings)
        return
    network = create_model(backbone, train_all_layers=True, **settings)
    images = torch.rand(4, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    descriptors = network(network.normalize(images))
    assert descriptors.shape == (4, network.descriptor_dim)
    torch.testing.assert_close(descriptors.norm(dim=1), torch.ones(4))
    # The first two are one place, and unlike the others.
    (-(descriptors[0] @ descriptors[1]) + descriptors[0] @ descriptors[2]).backward()
    optimizer.step()
    for name, parameter in network.named_parameters():
        assert parameter.isfinite().all(), name
    changed = {name for name, parameter in network.named_parameters() if not torch.equal(parameter, before[name])}
    heads = {name for name in before if name.startswith("aggregation.")}
    assert changed - heads and (changed & heads or head == "cls")


@pytest.mark.parametrize("head", ["salad", "netvlad"])
@pytest.mark.parametrize("dimension", [None, 24])
def test_another_dimension_is_a_projection(head: str, dimension: int | None) -> None:
    network = create_model(VIT, head=head, descriptor_dim=dimension, weights="none", head_arguments=SMALL[head])
    own = {"salad": 16 + 8 * 4, "netvlad": 8 * 64}[head]
    assert network.descriptor_dim == (dimension or own)
    assert ("aggregation.projection.weight" in network.state_dict()) == (dimension is not None)


def test_salad_needs_more_patches_than_clusters() -> None:
    head = SaladHead(FeatureShapes(map=6, tokens=6, cls=6), 256 + 64 * 128)
    features = Features(torch.rand(1, 6, 8, 8), torch.rand(1, 64, 6), torch.rand(1, 6))
    with pytest.raises(ProgeoError, match="'salad' has 64 clusters .* the images give 8 x 8: use larger images"):
        head(features)


def test_salads_features_give_all_they_have() -> None:
    head = SaladHead(FeatureShapes(map=6, tokens=6, cls=6), 256 + 4 * 128, clusters=4, iterations=100)
    shares = head._transport(torch.randn(2, 30, 4, generator=torch.Generator().manual_seed(0)))
    # The clusters get 1 each; what a feature keeps from them is in the dustbin.
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(2, 4), rtol=1e-4, atol=1e-4)
    assert (shares >= 0).all() and (shares.sum(dim=2) <= 1 + 1e-5).all()


def test_netvlad_starts_with_features_in_their_nearest_cluster() -> None:
    head = NetVladHead(FeatureShapes(map=16, tokens=16), 4 * 16, clusters=4)
    with torch.no_grad():
        descriptor = head(Features(tokens=head.centroids[2].expand(1, 9, -1) + 0.01)).reshape(4, 16).norm(dim=1)
        assert head.assignment(head.centroids).argmax(dim=1).tolist() == [0, 1, 2, 3]
    assert descriptor.shape == (4,)


def test_mixvpr_is_bound_to_a_size() -> None:
    network = create_model(CNN, head="mixvpr", descriptor_dim=64, weights="none", image_size=96).eval()
    assert network.spec.head_arguments == {"grid": [3, 3]}
    assert (network.preprocessing.image_size, network.preprocessing.square) == (96, True)
    with pytest.raises(ProgeoError, match="bound to maps of 3 x 3 patches, but these images give 4 x 3"):
        network(torch.rand(1, 3, 96, 128))
    head = MixVprHead(FeatureShapes(map=8, tokens=8), 16)
    assert head(Features(torch.rand(1, 8, 20, 20))).shape == (1, 16)
