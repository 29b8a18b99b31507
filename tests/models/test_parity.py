"""The published CosPlace networks: the same tensors, the same frozen layers, the same descriptors."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from progeo.models.building import create_model
from progeo.models.catalogue import COSPLACE


@pytest.fixture(scope="module")
def checkpoints(parity_dir: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((parity_dir / "cosplace_checkpoints.json").read_text())
    return content


def load_fill(parity_dir: Path) -> Any:
    specification = importlib.util.spec_from_file_location("fill", parity_dir / "fill.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.fill_deterministically


def test_all_published_combinations_are_offered(checkpoints: dict[str, Any]) -> None:
    assert {f"{name}_{dimension}" for name, dimensions in COSPLACE.items() for dimension in dimensions} == set(
        checkpoints
    )


@pytest.mark.parametrize("backbone", COSPLACE)
def test_state_dict_and_frozen_layers_are_as_published(checkpoints: dict[str, Any], backbone: str) -> None:
    for dimension in COSPLACE[backbone]:
        published = checkpoints[f"{backbone}_{dimension}"]
        with torch.device("meta"):
            network = create_model(backbone, descriptor_dim=dimension, weights="none")
        shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
        if "trainable" in published:
            assert shapes == published["state_dict"]
            trainable = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
            assert trainable == published["trainable"]
        else:  # only the head is recorded
            head = {name: shape for name, shape in shapes.items() if name.startswith("aggregation.")}
            assert head == published["state_dict"]


@pytest.mark.parametrize(("backbone", "dimension"), [("ResNet18", 512), ("ResNet50", 128), ("VGG16", 64)])
def test_descriptors_are_as_published(parity_dir: Path, backbone: str, dimension: int) -> None:
    golden = np.load(parity_dir / "cosplace_descriptors.npz")
    with torch.device("meta"):
        network = create_model(backbone, descriptor_dim=dimension, weights="none").eval()
    filled = load_fill(parity_dir)(
        {name: torch.empty_like(t, device="cpu") for name, t in network.state_dict().items()}
    )
    network.load_state_dict(filled, assign=True)
    with torch.no_grad():
        descriptors = network(network.normalize(torch.from_numpy(golden["images"]))).numpy()
    expected = golden[f"{backbone}_{dimension}_descriptors"]
    errors = np.linalg.norm(descriptors - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert errors.max() < 1e-5
    np.testing.assert_allclose(descriptors, expected, rtol=1e-5, atol=1e-6)
