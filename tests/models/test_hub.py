"""Models of torch.hub, with a folder on disk in place of a repository."""

from __future__ import annotations

import dataclasses
import sys
import types
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
from progeo.models.files import save_model
from progeo.models.foreign import ForeignCode
from progeo.models.hub import HUB_MODELS, find_hub_address, is_hub_address, load_hub_model
from progeo.models.loading import load_model

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
        ("cricavpr", ("Lu-Feng/CricaVPR", "trained_model", {})),
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
    assert set(HUB_MODELS) == {"cricavpr", "anyloc"}
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
        ("cricavpr:512", "cricavpr:512 says more than cricavpr can"),
        ("anyloc:urban:x", "more than anyloc:<domain> can"),
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
        ProgeoError, match=r"Cannot load cricavpr from Lu-Feng/CricaVPR .*no route.*clone the repository"
    ):
        load("cricavpr")


@pytest.mark.parametrize("name", ["cricavpr", "anyloc"])
def test_offline_the_error_says_what_must_lie_in_which_cache(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torch.hub itself ends where it finds neither a network nor the repository in its cache."""

    def unreachable(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", unreachable)
    with pytest.raises(ProgeoError, match=r"clone the repository .*hub:FOLDER:ENTRY") as raised:
        load(name)
    assert f"must lie in {tmp_path / 'hub'}: copy that" in str(raised.value)


def test_a_clone_whose_weights_are_not_there(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "\n\ndef far():\n    import urllib.error\n    raise urllib.error.URLError('no route')\n"
    (repository / "hubconf.py").write_text(HUBCONF + code)
    monkeypatch.setenv("TORCH_HOME", str(repository / "home"))
    with pytest.raises(ProgeoError, match=r"no route") as raised:
        load(f"hub:{repository}:far")
    assert f"must lie in {repository / 'home/hub'}: copy" in str(raised.value)
    assert "clone the repository" not in str(raised.value)


def test_packages_that_a_repository_needs_are_named(repository: Path) -> None:
    needs = '["torch", "einops_of_nobody", "fast_kmeans_of_nobody"]'
    (repository / "hubconf.py").write_text(HUBCONF.replace('["torch"]', needs))
    with pytest.raises(ProgeoError, match=r"einops_of_nobody, fast_kmeans_of_nobody\)\. Install them first") as raised:
        load(f"hub:{repository}:model")
    assert "network" not in str(raised.value)
    (repository / "hubconf.py").write_text("import timm_of_nobody\n" + HUBCONF)
    with pytest.raises(ProgeoError, match="needs the package that gives timm_of_nobody: install that first") as raised:
        load(f"hub:{repository}:model")
    assert "network" not in str(raised.value)


@pytest.mark.parametrize("folder", ["C:\\clones\\thing", "C:/clones/thing", "/clones/thing"])
def test_folders_with_a_drive(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_dir", lambda path: str(path) == folder)
    model = hub._parse_address(f"hub:{folder}:model:input_size=32")
    assert (model.repository, model.entry, model.preprocessing.image_size) == (folder, "model", 32)


def test_models_of_the_hub_take_no_backbone(repository: Path) -> None:
    with pytest.raises(ProgeoError, match="cricavpr is a model of torch.hub: it takes neither `backbone`"):
        load_model("cricavpr", backbone="ResNet18")


def test_a_misspelt_model_is_answered_with_the_nearest() -> None:
    with pytest.raises(ProgeoError, match=r"no model file megalock \(did you mean megaloc\?\)"):
        load_model("megalock")


def test_a_saved_model_needs_its_code_and_trust(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    network = load("hub:.:model:dimension=5")
    assert network.backbone_name == f"hub:{repository}:model:dimension=5"
    network.backbone.model.weights.data.fill_(0.5)
    save_model(tmp_path / "model", network)
    with pytest.raises(ProgeoError, match="runs code from .* give `trust_remote_code`"):
        load_model(tmp_path / "model")
    again = load_model(tmp_path / "model", trust_remote_code=True)
    assert again.spec.provenance["repository"] == str(repository)
    assert (again.backbone.model.weights == 0.5).all()
    assert load(again.backbone_name).spec.provenance == network.spec.provenance
    (repository / "hubconf.py").write_text(HUBCONF + "\n(Path(__file__).parent / 'ran').touch()\n")
    changed = ForeignCode(repository, "").compute_hash()
    with pytest.raises(ProgeoError) as caught:
        load_model(tmp_path / "model", trust_remote_code=True)
    assert "has changed" in str(caught.value) and not (repository / "ran").exists()
    assert all(value[:12] in str(caught.value) for value in (changed, network.spec.provenance["files_hash"]))


def test_only_code_has_a_hash(repository: Path) -> None:
    before = ForeignCode(repository, "").compute_hash()
    for name in ("results.json", "__pycache__/hubconf.pyc", ".venv/lib/thing.py", "README.md"):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text("new")
    assert ForeignCode(repository, "").compute_hash() == before
    (repository / "parts.py").touch()
    assert ForeignCode(repository, "").compute_hash() != before


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import sys; sys.exit(3)", r"Cannot load .*own from .* \(it exits with 3\)"),
        ("import argparse; argparse.ArgumentParser().parse_args(['--unknown'])", "exits with 2"),
        ("raise KeyboardError", "NameError|KeyboardError"),
    ],
)
def test_code_that_leaves_is_one_message(body: str, message: str, repository: Path) -> None:
    (repository / "hubconf.py").write_text(HUBCONF + f"\n\ndef own():\n    {body}\n")
    with pytest.raises(ProgeoError, match=message):
        load(f"hub:{repository}:own")


def test_what_goes_wrong_while_describing_is_one_message(repository: Path) -> None:
    (repository / "hubconf.py").write_text(
        HUBCONF
        + """

class Choosy(Model):
    def forward(self, images):
        print("looking")
        if images.shape[2] < 100:
            raise SystemExit("too small for me")
        if images.shape[2] > 500:
            raise RuntimeError("CUDA out of memory")
        return super().forward(images)


def own():
    return Choosy(4, False)
"""
    )
    network = load(f"hub:{repository}:own")
    with pytest.raises(ProgeoError, match=r"cannot encode images of 60x50 pixels \(it exits with too small for me"):
        network(torch.rand(1, 3, 50, 60))
    with pytest.raises(RuntimeError, match="out of memory"):
        network(torch.rand(1, 3, 600, 60))


def test_data_parallel_is_taken_off_and_nothing_is_folded(repository: Path) -> None:
    (repository / "hubconf.py").write_text(
        HUBCONF
        + """

class Folds(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.DataParallel(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)))

    def forward(self, images):
        return self.inner(images).mean(dim=(2, 3))


def own():
    return torch.nn.DataParallel(Folds())
"""
    )
    network = load(f"hub:{repository}:own")
    assert not any(isinstance(module, torch.nn.DataParallel) for module in network.modules())
    assert network.fold() is network
    assert "backbone.model.inner.0.weight" in network.state_dict()


def test_dependence_on_the_batch_is_measured(repository: Path) -> None:
    (repository / "hubconf.py").write_text(
        HUBCONF
        + """

class Together(Model):
    def forward(self, images):
        descriptors = super().forward(images)
        return descriptors - descriptors.mean(dim=0)


def own():
    return Together(4, False)
"""
    )
    assert load(f"hub:{repository}:own").spec.provenance["batch_dependent"] is True
    assert load(f"hub:{repository}:model").spec.provenance["batch_dependent"] is False


def test_modules_are_apart_from_those_of_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own ``parts`` win over one that the program has, packages without a file of their own among them."""
    program = types.ModuleType("parts")
    monkeypatch.setitem(sys.modules, "parts", program)
    (tmp_path / "hubconf.py").write_text(
        HUBCONF + "\n\ndef own():\n    from parts.size import D\n    return model(D)\n"
    )
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/size.py").write_text("D = 6\n")
    before = dict(sys.modules)
    assert load(f"hub:{tmp_path}:own").descriptor_dim == 6
    assert sys.modules["parts"] is program and "parts.size" not in sys.modules
    assert not any(str(tmp_path) in path for path in sys.path)
    assert before.keys() <= sys.modules.keys()


def test_modules_that_are_imported_late_are_found(tmp_path: Path) -> None:
    (tmp_path / "hubconf.py").write_text(
        HUBCONF
        + """

class Late(Model):
    def forward(self, images):
        from parts import scale
        return scale * super().forward(images)


def own():
    return Late(4, False)
"""
    )
    (tmp_path / "parts.py").write_text("scale = 2\n")
    network = load(f"hub:{tmp_path}:own")
    images = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(network(images), 2 * load(f"hub:{tmp_path}:model:dimension=4")(images))
    assert "parts" not in sys.modules


def test_a_fetched_repository_is_taken_from_where_torch_hub_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub/someone_thing_main").mkdir(parents=True)
    assert hub.fetch_repository("someone/thing:main") == (tmp_path / "hub/someone_thing_main").resolve()


def test_what_was_made_with_foreign_code_goes_on_with_it(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As progeo wrote it when megaloc was a name of torch.hub.
    network = load(f"hub:{repository}:model:dimension=5")
    network.spec = dataclasses.replace(network.spec, backbone="megaloc")
    save_model(tmp_path / "model", network)
    with pytest.raises(ProgeoError, match="hub:gmberton/MegaLoc:get_trained_model.* runs code .*`trust_remote_code`"):
        load_model(tmp_path / "model")
    monkeypatch.setattr(hub, "fetch_repository", lambda name: repository)
    monkeypatch.setitem(hub.OLD_NAMES, "megaloc", "hub:gmberton/MegaLoc:model:dimension=5")
    again = load_model(tmp_path / "model", trust_remote_code=True)
    assert again.state_dict().keys() == network.state_dict().keys()
    assert again.spec.backbone == "megaloc"
    of_eigenplaces = dataclasses.replace(network.spec, backbone="eigenplaces:ResNet18:256")
    assert find_hub_address(of_eigenplaces) == (
        "hub:gmberton/eigenplaces:get_trained_model:backbone=ResNet18:fc_output_dim=256"
    )
