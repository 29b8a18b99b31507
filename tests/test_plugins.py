"""Packages that add to progeo: found without a word from the user, and missed by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
import torch
import torch.nn.functional as F
from progeo.models.features import Features, FeatureShapes
from progeo.models.heads import register_head
from progeo.training import ImagePhase, register_method


@register_method("pull")
class Pull(ImagePhase):
    images_per_class = 2

    def compute_losses(self, descriptors, labels):
        same = labels[:, None] == labels[None]
        return {"pull": (descriptors[:, None] - descriptors[None]).square().sum(dim=2)[same].mean()}


@register_head("mean", needs="tokens")
class MeanHead(torch.nn.Module):
    def __init__(self, shapes: FeatureShapes, descriptor_dim: int, scale: float = 1.0) -> None:
        super().__init__()
        self.projection = torch.nn.Linear(shapes.tokens, descriptor_dim)
        self.scale = scale

    def forward(self, features: Features) -> torch.Tensor:
        return F.normalize(self.projection(self.scale * features.tokens.mean(dim=1)), dim=1)
"""

SAVE = """
import torch
from progeo.models.files import save_model
from progeo.models.building import create_model
network = create_model("timm:test_vit", head="mean", descriptor_dim=8, weights="none", head_arguments={"scale": 2.0})
assert network.spec.provenance["packages"] == ["my-heads"]
save_model("model.safetensors", network)
torch.save(network.encode([torch.full((3, 40, 60), 0.5)], output="torch"), "descriptors.pt")
"""

LOAD = """
import torch
from progeo.models.loading import load_model
network = load_model("model.safetensors")
assert (network.spec.head, network.spec.head_arguments) == ("mean", {"scale": 2.0})
torch.testing.assert_close(
    network.encode([torch.full((3, 40, 60), 0.5)], output="torch"), torch.load("descriptors.pt")
)
"""

USE = """
import os
from pathlib import Path
from progeo.cli import main

city = os.environ["CITY"]
small = {
    **{"M": 10, "alpha": 360, "N": 1, "L": 1, "groups_num": 1, "min_images_per_class": 2, "batch_size": 4},
    **{"image_size": 32, "epochs_num": 1, "iterations_per_epoch": 2, "device": "cpu", "save_dir": "own"},
    **{"backbone": "timm:test_vit", "backbone_weights": "none", "head": "mean", "fc_output_dim": 8, "method": "pull"},
    **{f"{part}_set_folder": f"{city}/{part}" for part in ("train", "val", "test")},
}
assert main(["train", *(f"--{name}={value}" for name, value in small.items())]) == 0
(trained,) = map(str, Path("logs/own").glob("*/best_model.safetensors"))
assert main(["eval", "--model", trained, "--test_set_folder", f"{city}/test", "--no_report"]) == 0
assert main(["index", f"{city}/test/database", "--model", trained, "--database", "places"]) == 0
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with a distribution ``my-heads`` installed in it."""
    folder = tmp_path / "site"
    information = folder / "my_heads-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: my-heads\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[progeo.plugins]\nmean = my_heads\n")
    (folder / "my_heads.py").write_text(HEAD)
    return folder


def run(code: str, folder: Path, *packages: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, [*packages, *sys.path]))
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )


def test_a_head_of_a_plugin_is_created_saved_and_loaded(package: Path, tmp_path: Path) -> None:
    for code in (SAVE, LOAD):
        result = run(code, tmp_path, package)
        assert result.returncode == 0, result.stderr
    missing = run(LOAD, tmp_path)
    assert "This model needs head 'mean' of my-heads: pip install my-heads" in missing.stderr


def test_a_head_and_a_method_of_a_plugin_train_evaluate_and_index(
    package: Path, tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CITY", str(tiny_city))
    result = run(USE, tmp_path, package)
    assert result.returncode == 0, result.stderr
    assert "8 photos added" in result.stderr


def test_a_broken_plugin_is_named_and_left_out(package: Path, tmp_path: Path) -> None:
    (package / "my_heads.py").write_text("import nothing_of_this_name")
    code = "import logging; logging.basicConfig(); from progeo.models.heads import list_heads; print(list_heads())"
    result = run(code, tmp_path, package)
    assert "'gem'" in result.stdout and "'mean'" not in result.stdout
    assert "plugin mean of my-heads cannot be loaded" in result.stderr and "nothing_of_this_name" in result.stderr
