"""Every method with every family of backbones and their heads: one step each, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm

from progeo.errors import ProgeoError
from progeo.training import train
from progeo.training.recipes import find_recipe

SETTINGS: dict[str, Any] = {
    **{"M": 10, "alpha": 360, "N": 2, "L": 1, "groups_num": 2, "batch_size": 4, "images_per_class": 2},
    **{"epochs_num": 1, "iterations_per_epoch": 1, "num_workers": 0, "device": "cpu", "backbone_weights": "none"},
    **{"min_images_per_class": 4, "fc_output_dim": None},
}
SMALL = {"embed_dim": 32, "depth": 4, "num_heads": 2}
"""Instead of the published widths, so that a step takes milliseconds; the layers are those of the family."""
FAMILIES = {
    "ResNet18": ("gem", 32),
    "EfficientNet-Lite0": ("gem", 32),
    "timm:vit_small_patch14_dinov2.lvd142m": ("cls", 28),
    "timm:vit_small_patch16_dinov3.lvd1689m": ("cls", 32),
    "timm:vit_base_patch16_siglip_gap_224.v2_webli": ("gem", 32),
}
HEADS: dict[str, dict[str, Any]] = {
    "salad": {"clusters": 8, "cluster_dim": 4, "token_dim": 16, "hidden_dim": 32},
    "boq": {"channels": 64, "queries": 8},
    "mixvpr": {"depth": 2},
    "netvlad": {"clusters": 8},
}


@pytest.fixture(autouse=True)
def small_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    create_model = timm.create_model

    def create(name: str, *pretrained: bool, **arguments: Any) -> Any:
        return create_model(name, *pretrained, **arguments | (SMALL if "vit_" in name else {}))

    monkeypatch.setattr(timm, "create_model", create)


@pytest.mark.parametrize("method", ["cosplace", "metric"])
@pytest.mark.parametrize("backbone", FAMILIES)
def test_a_step(backbone: str, method: str, tiny_city: Path) -> None:
    head, size = FAMILIES[backbone]
    settings = SETTINGS | {"unfreeze": 1, "head": head, "image_size": size}
    settings["fc_output_dim"] = SMALL["embed_dim"] if head == "cls" else 16
    result = train(backbone, tiny_city / "train", method=method, **settings)
    assert result.model is not None and len(result.history) == 1
    assert result.history[0]["loss"] > 0


@pytest.mark.parametrize("method", ["cosplace", "metric"])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("backbone", ["timm:test_resnet", "timm:test_vit"])
def test_a_step_with_each_head(backbone: str, head: str, method: str, tiny_city: Path) -> None:
    if head == "salad" and backbone == "timm:test_resnet":
        pytest.skip("needs a class token")
    settings = SETTINGS | {"head": head, "image_size": 96, "head_arguments": HEADS[head]}
    result = train(backbone, tiny_city / "train", method=method, **settings)
    assert result.model is not None and result.history[0]["loss"] > 0


@pytest.mark.parametrize("recipe", ["gsv-salad", "gsv-boq", "gsv-mixvpr"])
def test_a_step_of_each_recipe(recipe: str, tiny_city: Path) -> None:
    """As published but for weights, width, size and number of places."""
    head = recipe.removeprefix("gsv-")
    settings = SETTINGS | {"image_size": 112, "head_arguments": HEADS[head], "min_images_per_class": 2}
    network = str(find_recipe(recipe).settings["backbone"])
    result = train(network, tiny_city / "train", recipe=recipe, use_amp16=False, **settings)
    assert result.model is not None and result.history[0]["loss"] >= 0


@pytest.mark.parametrize("kind", ["rn", "vit"])
@pytest.mark.parametrize("method", ["cosplace", "metric", "progeo"])
def test_a_step_of_clip(kind: str, method: str, tiny_city: Path, tiny_clips: dict[str, str]) -> None:
    settings = SETTINGS | {"image_size": 64, "epochs_num_stage1": 2, "batch_size_stage1": 8}
    result = train(tiny_clips[kind], tiny_city / "train", method=method, **settings)
    assert result.model is not None and len(result.history) == 1


def test_progeo_without_a_text_tower(tiny_city: Path) -> None:
    with pytest.raises(ProgeoError, match="needs a backbone with a text tower"):
        train("ResNet18", tiny_city / "train", method="progeo", **SETTINGS)
