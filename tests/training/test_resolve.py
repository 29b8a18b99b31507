"""What a run that goes on is made of: the spec in its checkpoint."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from progeo import cli
from progeo.errors import ProgeoError
from progeo.models.building import create_model
from progeo.models.files import save_model
from progeo.models.loading import load_model
from progeo.training import train
from progeo.training.best import BEST_MODEL

SETTINGS: dict[str, Any] = {
    **{"M": 10, "alpha": 360, "N": 2, "L": 1, "groups_num": 2, "min_images_per_class": 4, "device": "cpu", "lr": 1e-3},
    **{"batch_size": 4, "epochs_num": 1, "iterations_per_epoch": 2, "image_size": 32, "num_workers": 0},
}
BACKBONE = "timm:test_resnet"


def test_a_resumed_run_takes_head_arguments_from_its_checkpoint(
    tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = {"projection": False}
    save_model("given.safetensors", create_model(BACKBONE, head_arguments=arguments, descriptor_dim=96, weights="none"))
    # The command line takes over what the run was resolved to: backbone and head, and no arguments of it.
    named = SETTINGS | {"backbone": BACKBONE, "head": "gem", "fc_output_dim": 96}
    train("given.safetensors", tiny_city / "train", folder="run", **named)
    train("given.safetensors", tiny_city / "train", folder="run", **named | {"epochs_num": 2})
    whole = train("given.safetensors", tiny_city / "train", folder="whole", **named | {"epochs_num": 2})
    model = load_model(f"run/{BEST_MODEL}")
    assert model.spec.head_arguments == arguments and whole.model is not None
    assert all(torch.equal(tensor, whole.model.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_arguments_of_head_and_backbone_are_settings(tiny_city: Path) -> None:
    model = train(BACKBONE, tiny_city / "train", **SETTINGS, backbone_weights="none", head_arguments={"p": 4.0}).model
    assert model is not None and model.spec.head_arguments == {"p": 4.0}
    with pytest.raises(ProgeoError, match="Head 'gem' cannot be made with.*clusters=3"):
        train(BACKBONE, tiny_city / "train", **SETTINGS, backbone_weights="none", head_arguments={"clusters": 3})
    with pytest.raises(ProgeoError, match="but `head_arguments` {'p': 2.0} was asked for"):
        train(model, tiny_city / "train", **SETTINGS, head_arguments={"p": 2.0})


def test_a_trained_model_to_start_from_complains_of_what_was_given_alone(
    tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """MegaLoc takes squares of one size, has a head of its own and thousands of dimensions: no option says so."""
    monkeypatch.chdir(tmp_path)
    network = create_model("timm:test_vit", head="salad", weights="none", seed=0)
    network.preprocessing = dataclasses.replace(network.preprocessing, square=True)
    monkeypatch.setattr("progeo.training.run.load_network", lambda *arguments, **settings: network)
    folders = [f"--{name}_set_folder={tiny_city / name}" for name in ("train", "val", "test")]
    classes = ["--M=10", "--alpha=360", "--N=2", "--L=1", "--groups_num=2", "--min_images_per_class=4"]
    steps = ["--batch_size=4", "--epochs_num=1", "--iterations_per_epoch=1", "--num_workers=1", "--device=cpu"]
    command = ["train", "--resume_model", "megaloc", *folders, *classes, *steps]
    assert cli.main(command) == 0
    capsys.readouterr()
    size = network.preprocessing.image_size
    for given, named in (
        (["--image_size=512"], "--image_size 512 was asked for"),
        (["--fc_output_dim=64"], "--fc_output_dim 64 was asked for"),
        (["--head=gem"], "--head gem was asked for"),
        (["--no_resize_test_imgs"], f"takes squares of {size} px only"),
    ):
        assert cli.main([*command, *given]) == 2
        said = " ".join(capsys.readouterr().err.partition("Error: ")[2].split())
        assert named in said, said
        others = {"image_size", "fc_output_dim", "head", "backbone", "unfreeze"} - {given[0][2:].partition("=")[0]}
        assert not any(f"--{other} " in said for other in others), said
