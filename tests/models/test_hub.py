"""Models of torch.hub, with a folder on disk in place of a repository."""

from __future__ import annotations

import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import progeo
from progeo.errors import ProgeoError
from progeo.models import hub
from progeo.models.hub import HUB_MODELS, is_hub_address, load_hub_model
from progeo.models.published import load_model

HUBCONF = """
dependencies = ["torch"]
import torch


class Model(torch.nn.Module):
    def __init__(self, dimension, outputs):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.arange(3.0 * dimension).reshape(3, dimension), requires_grad=False)
        self.outputs = outputs
        self.sizes = []

    def forward(self, images):
        self.sizes.append(tuple(images.shape[2:]))
        descriptors = images.mean(dim=(2, 3)) @ self.weights
        return (descriptors, "attention") if self.outputs else descriptors


def model(dimension=8, outputs=False):
    print("chatty")
    return Model(dimension, outputs)


def no_model():
    return torch.nn.Conv2d(3, 2, 1)


def broken():
    raise RuntimeError("the weights are\\ngone")
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "hubconf.py").write_text(HUBCONF)
    return tmp_path


def load(address: str) -> Any:
    return load_hub_model(address, trust_remote_code=True)


def test_any_model_of_a_folder(
    repository: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    network = load_model(f"hub:{repository}:model:dimension=5", trust_remote_code=True)
    assert (network.descriptor_dim, network.training, network.backbone_name) == (
        5,
        False,
        f"hub:{repository}:model:dimension=5",
    )
    assert network(torch.rand(2, 3, 40, 60)).shape == (2, 5)
    # What the code prints must not mix with results.
    assert capsys.readouterr().out == ""
    assert "says: chatty" in caplog.text


def test_the_first_of_several_outputs_is_the_descriptor(repository: Path) -> None:
    assert load(f"hub:{repository}:model:outputs=true").descriptor_dim == 8


def test_photos_are_brought_to_the_size_that_the_address_says(repository: Path, tmp_path: Path) -> None:
    Image.new("RGB", (90, 60), (200, 30, 10)).save(tmp_path / "photo.jpg")
    network = load(f"hub:{repository}:model:input_size=32:interpolation=bicubic")
    assert (network.preprocessing.image_size, network.preprocessing.square) == (32, True)
    descriptors = progeo.extract_descriptors(network, [str(tmp_path / "photo.jpg")], resize=True)
    assert descriptors.shape == (1, 8)
    assert np.isfinite(descriptors).all()
    assert network.backbone.model.sizes[-1] == (32, 32)


def test_sides_become_multiples_of_the_patch(repository: Path) -> None:
    network = load(f"hub:{repository}:model:patch=14")
    network(torch.rand(1, 3, 100, 5))
    assert network.backbone.model.sizes[-1] == (98, 14)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("megaloc", ("gmberton/MegaLoc", "get_trained_model", {})),
        ("salad", ("serizba/salad", "dinov2_salad", {})),
        ("boq-dinov2", ("amaralibey/bag-of-queries", "get_trained_boq", {"output_dim": 12288})),
        ("eigenplaces:ResNet18:256", ("gmberton/eigenplaces", "get_trained_model", {"fc_output_dim": 256})),
        ("anyloc:indoor", ("AnyLoc/DINO", "get_vlad_model", {"domain": "indoor", "device": "cuda"})),
        ("hub:someone/thing:entry:size=0.5:name=x", ("someone/thing", "entry", {"size": 0.5, "name": "x"})),
    ],
)
def test_addresses_of_published_models(
    address: str, expected: tuple[str, str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, str, dict[str, Any]]] = []

    def hub_load(repository: str, entry: str, **settings: Any) -> torch.nn.Module:
        calls.append((repository, entry, settings))
        return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())

    fetched: list[str] = []

    def fetch(repository: str) -> Path:
        fetched.append(repository)
        return tmp_path

    monkeypatch.setattr(torch.hub, "load", hub_load)
    monkeypatch.setattr(hub, "fetch_repository", fetch)
    network = load_hub_model(address, trust_remote_code=True, device="cuda")
    assert (fetched[0], calls[0][1]) == expected[:2]
    assert calls[0][0] == str(tmp_path)
    assert calls[0][2].items() >= (expected[2] | {"source": "local", "trust_repo": True}).items()
    assert network.descriptor_dim == 3


def test_every_published_model_says_what_it_is() -> None:
    assert {"eigenplaces", "mixvpr", "salad", "cricavpr", "megaloc", "anyloc"} <= HUB_MODELS.keys()
    assert [name for name, model in HUB_MODELS.items() if model.batch_dependent] == ["cricavpr"]
    for name, model in HUB_MODELS.items():
        assert is_hub_address(name)
        assert model.dimensions and model.source and model.licence
        assert model.preprocessing.image_size % model.patch == 0 or not model.preprocessing.square


def test_repositories_do_not_get_each_others_modules(tmp_path: Path) -> None:
    for dimension in (3, 5):
        folder = tmp_path / f"repository{dimension}"
        folder.mkdir()
        (folder / "hubconf.py").write_text(HUBCONF + "\n\ndef own():\n    from parts import D\n    return model(D)\n")
        (folder / "parts.py").write_text(f"D = {dimension}\n")
        assert load(f"hub:{folder}:own").descriptor_dim == dimension


def test_foreign_code_runs_only_where_it_is_trusted(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "hubconf.py").write_text("import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n")
    with pytest.raises(ProgeoError, match=r"runs code from .* on this machine.* give `trust_remote_code`"):
        load_model(f"hub:{repository}:model")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hub:", "is no address of torch.hub. The form is hub:<repository>:<entry>"),
        ("hub:{folder}", "is no address of torch.hub"),
        ("hub:{folder}:model:dimension", "is no address of torch.hub"),
        ("hub:nowhere:model", "nowhere is neither a folder nor a repository like OWNER/NAME"),
        ("hub:{folder}:model:input_size=big", "input_size is the side of a square in pixels, not big"),
        ("hub:{folder}:model:patch=0", "patch is the pixels that sides must be multiples of, not 0"),
        ("hub:{folder}:model:interpolation=cubic", "interpolation is bilinear or bicubic, not cubic"),
        ("hub:{folder}:modle", r"Cannot load .* from .* \(Cannot find callable modle in hubconf\)\.$"),
        ("hub:{folder}:model:size=3", r"\(model\(\) got an unexpected keyword argument 'size'\)\.$"),
        ("hub:{folder}:broken", r"\(the weights are gone\)\.$"),
        ("hub:{folder}:no_model", r"gives \(1, 2, 224, 224\) for one image where descriptors \(1, D\) are needed"),
        ("megaloc:512", "megaloc:512 says more than megaloc can"),
        ("eigenplaces:ResNet18:256:x", "more than eigenplaces:<backbone>:<fc_output_dim> can"),
        ("mixvpr", r"publish no torch.hub entry. Clone the repository.*hub:FOLDER:FUNCTION:input_size=320"),
    ],
)
def test_addresses_that_lead_nowhere(address: str, message: str, repository: Path) -> None:
    with pytest.raises(ProgeoError, match=message):
        load(address.format(folder=repository))


def test_without_a_network_the_error_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(torch.hub, "_get_cache_or_reload", unreachable)
    with pytest.raises(
        ProgeoError, match=r"Cannot load megaloc from gmberton/MegaLoc .*no route.*clone the repository"
    ):
        load("megaloc")


def test_models_of_the_hub_take_no_backbone(repository: Path) -> None:
    with pytest.raises(ProgeoError, match="megaloc is a model of torch.hub: it takes neither `backbone`"):
        load_model("megaloc", backbone="ResNet18")


def test_a_misspelt_model_is_answered_with_the_nearest() -> None:
    with pytest.raises(ProgeoError, match=r"no model file megalock \(did you mean megaloc\?\)"):
        load_model("megalock")
