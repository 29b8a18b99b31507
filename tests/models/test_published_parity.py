"""The published models of others: their state dicts load strictly, and give the descriptors that their code gives."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from progeo.models.building import build
from progeo.models.catalogue import EIGENPLACES, list_published
from progeo.models.files import load_weights
from progeo.models.network import PlaceNetwork

from .test_parity import load_fill

NAMES = {
    "megaloc": "megaloc",
    "salad": "salad",
    "boq-resnet50": "boq-resnet50-16384",
    "boq-dinov2": "boq-dinov2-12288",
    "mixvpr:4096": "mixvpr-4096",
    "mixvpr:512": "mixvpr-512",
    "mixvpr:128": "mixvpr-128",
}
"""What the fixtures call our models."""


def load(name: str, parity_dir: Path) -> PlaceNetwork:
    """Return a published model with the fixtures' weights; there is only one copy of these."""
    model = list_published()[name]
    with gzip.open(parity_dir / "published_keys.json.gz") as file:
        shapes = json.load(file)[NAMES[name]]
    counters = "num_batches_tracked"
    empty = {
        key: torch.empty(shape, dtype=torch.long if key.endswith(counters) else torch.float32, device="meta")
        for key, shape in shapes.items()
    }
    # On the CPU one by one: the fixtures' function makes all of them at once.
    tensors = {}
    for key, tensor in empty.items():
        if key not in model.ignored:
            (tensors[model.rename(key)],) = load_fill(parity_dir)({key: tensor}).values()
    return load_weights(model.spec, tensors, "the fixtures", what=name)


@pytest.fixture(params=NAMES)
def named(request: pytest.FixtureRequest, parity_dir: Path) -> Iterator[tuple[str, PlaceNetwork]]:
    """One model at a time."""
    yield request.param, load(request.param, parity_dir)


def test_descriptors_are_as_published(named: tuple[str, PlaceNetwork], parity_dir: Path) -> None:
    name, network = named
    golden = np.load(parity_dir / "published_descriptors.npz")
    size = network.preprocessing.image_size
    images = F.interpolate(torch.from_numpy(golden["images_46x46"]), (size, size), mode="bilinear")
    with torch.inference_mode():
        descriptors = network(network.normalize(images)).numpy()
    expected = golden[f"{NAMES[name]}_descriptors"]
    errors = np.linalg.norm(descriptors - expected, axis=1) / np.linalg.norm(expected, axis=1)
    print(name, errors)
    assert errors.max() < 1e-4
    assert network.descriptor_dim == descriptors.shape[1]


def test_eigenplaces_has_the_tensors_of_cosplace(parity_dir: Path) -> None:
    published = json.loads((parity_dir / "cosplace_checkpoints.json").read_text())
    for backbone, dimensions in EIGENPLACES.items():
        for dimension in dimensions:
            model = list_published()[f"eigenplaces:{backbone}:{dimension}"]
            with torch.device("meta"):
                tensors = build(model.spec).state_dict()
            shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
            assert shapes.items() >= published[f"{backbone}_{dimension}"]["state_dict"].items()
