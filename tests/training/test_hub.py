"""Fine-tuning models of others, with a folder on disk in place of a repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from progeo import cli
from progeo.models.loading import load_model

HUBCONF = """
import torch


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 8, 4, stride=4)

    def forward(self, images):
        assert images.shape[2:] == (32, 32)
        return torch.nn.functional.normalize(self.layer(images).mean(dim=(2, 3)), dim=1)


def model():
    torch.manual_seed(0)
    return Model()
"""


def test_a_model_of_others_is_trained_like_our_own(
    tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("repository").mkdir()
    Path("repository/hubconf.py").write_text(HUBCONF)
    address = "hub:repository:model:input_size=32"
    sets = [f"--{part}_set_folder={tiny_city / part}" for part in ("train", "val", "test")]
    classes = ["--M=10", "--alpha=360", "--N=2", "--L=1", "--groups_num=2", "--min_images_per_class=4"]
    steps = ["--batch_size=4", "--iterations_per_epoch=3", "--lr=0.001", "--num_workers=0", "--device=cpu"]
    command = ["train", *sets, *classes, *steps, f"--resume_model={address}"]
    assert cli.main([*command, "--epochs_num=1"]) == 2
    assert "--trust_remote_code" in capsys.readouterr().err
    assert cli.main([*command, "--epochs_num=1", "--trust_remote_code"]) == 0
    (folder,) = Path("logs/default").iterdir()
    trained = load_model(folder / "best_model.safetensors", trust_remote_code=True)
    fresh = load_model(address, trust_remote_code=True)
    assert (trained.descriptor_dim, trained.preprocessing.image_size, trained.preprocessing.square) == (8, 32, True)
    phase = torch.load(folder / "last_checkpoint.pth", weights_only=True)["phase"]
    last = {name.removeprefix("network."): tensor for name, tensor in phase.items()}
    assert any(not torch.equal(tensor, last[name]) for name, tensor in fresh.state_dict().items())
    assert json.loads((folder / "results.json").read_text())["recalls"]["R@1"] > 0
    again = ["train", f"--resume_train={folder}", "--epochs_num=2"]
    assert cli.main(again) == 0
    assert "Epoch 2/2" in (folder / "log.txt").read_text()
    assert cli.main([*again, "--image_size=64", "--epochs_num=3"]) == 2
    assert "--image_size 64 was asked for" in " ".join(capsys.readouterr().err.split())
    # Where others keep the size of test photos, this model cannot.
    assert cli.main([*command, "--epochs_num=1", "--trust_remote_code", "--no_resize_test_imgs"]) == 2
    assert "takes squares of 32 px only" in " ".join(capsys.readouterr().err.split())
    published = [*command, "--epochs_num=1", "--trust_remote_code", "--save_dir=published"]
    assert cli.main(published, published=True) == 0
    (folder,) = Path("logs/published").iterdir()
    assert json.loads((folder / "results.json").read_text())["image_size"] == 32
