"""Recall by dimension: which models have it, and that leading components are what a smaller model gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from progeo.evaluation.dimensions import choose_dimensions, measure_dimensions
from progeo.evaluation.evaluate import evaluate
from progeo.evaluation.evaluation_set import read_evaluation_set
from progeo.evaluation.metrics import measure
from progeo.evaluation.positives import PUBLISHED_RULE
from progeo.evaluation.report import write_report
from progeo.models.building import create_model
from progeo.models.heads.pca import PcaHead
from progeo.models.network import PlaceNetwork


def create_projected(dimensions: int) -> PlaceNetwork:
    """A small network with the same 80 random components, of which it takes the first ``dimensions``."""
    arguments = {"head": "gem", "head_dim": 128}
    network = create_model(
        "timm:test_resnet", weights="none", head="pca", head_arguments=arguments, descriptor_dim=dimensions, seed=0
    )
    assert isinstance(network.aggregation, PcaHead)
    generator = torch.Generator().manual_seed(0)
    network.aggregation.components.copy_(torch.randn(80, 128, generator=generator)[:dimensions])
    return network.eval()


def test_only_fitted_components_are_looked_at() -> None:
    assert choose_dimensions(create_projected(80).spec) == [32, 64, 80]
    assert choose_dimensions(create_projected(64).spec) == [32, 64]
    assert choose_dimensions(create_projected(20).spec) == [20]
    assert choose_dimensions(create_model("timm:test_resnet", weights="none", descriptor_dim=16).spec) == []


def test_places_that_only_later_components_tell_apart() -> None:
    generator = np.random.default_rng(0)
    own = np.eye(40, dtype=np.float32)
    database = np.concatenate([generator.normal(size=(40, 32)).astype(np.float32), 40 * own], axis=1)
    queries = np.concatenate([np.roll(database[:, :32], 7, axis=0), 40 * own], axis=1)
    positions = np.stack([100.0 * np.arange(40), np.zeros(40)], axis=1)
    halves = [database[:25], database[25:]]
    found = measure_dimensions([32, 72], lambda: halves, queries, (positions, positions), PUBLISHED_RULE)
    assert found == {32: 0.0, 72: 100.0}


@pytest.mark.parametrize("keep", [False, True])
def test_the_curve_is_what_smaller_models_find(tiny_city: Path, tmp_path: Path, keep: bool) -> None:
    test = read_evaluation_set(tiny_city / "test")
    found = evaluate(create_projected(80), test, descriptors_folder=tmp_path / "kept" if keep else None)
    assert list(found.recalls_by_dimension) == [32, 64, 80]
    assert found.recalls_by_dimension[80] == found.recalls[1]
    for dimensions in (32, 64):
        assert found.recalls_by_dimension[dimensions] == evaluate(create_projected(dimensions), test).recalls[1]

    write_report(found, test, measure(found), tmp_path / "report.html", title="Components", settings={})
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Smaller descriptors" in page and f"32 (128 bytes) {found.recalls_by_dimension[32]:.1f} %" in page
