"""Model files that say what they are, state dicts that do not, and files that are neither."""

from __future__ import annotations

import dataclasses
import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from progeo.errors import ProgeoError
from progeo.models.building import create_model
from progeo.models.files import load_model_file, save_model
from progeo.models.network import PlaceNetwork


@pytest.fixture(scope="module")
def network() -> PlaceNetwork:
    network = create_model("ResNet18", descriptor_dim=16, weights="none").eval()
    network.preprocessing = dataclasses.replace(network.preprocessing, image_size=320)
    return network


@pytest.fixture(scope="module")
def saved(network: PlaceNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "model.safetensors"
    training = {"M": 10, "train_set_folder": Path("photos/train"), "lr": np.float32(0.5)}
    save_model(path, network, training=training, metrics={"val_recall@1": 81.25}, licence="MIT")
    return path


@pytest.fixture(scope="module")
def state_dict(network: PlaceNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "best_model.pth"
    torch.save(network.state_dict(), path)
    return path


def test_a_model_file_needs_nothing_else(saved: Path, network: PlaceNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("loading a trained model fetched something")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    loaded = load_model_file(saved)
    assert not loaded.training
    assert (loaded.backbone_name, loaded.descriptor_dim) == ("ResNet18", 16)
    assert loaded.preprocessing == network.preprocessing
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), network(images), rtol=0, atol=0)


def test_the_card_tells_how_the_model_came_to_be(saved: Path) -> None:
    spec = load_model_file(saved).spec
    assert spec.provenance["training"] == {"M": 10, "train_set_folder": "photos/train", "lr": 0.5}
    assert spec.provenance["metrics"] == {"val_recall@1": 81.25}
    assert (spec.licence, spec.backbone, spec.head, spec.descriptor_dim) == ("MIT", "ResNet18", "gem", 16)
    assert spec.preprocessing.image_size == 320
    assert spec.provenance["created"].endswith("+00:00")


def test_a_card_can_be_saved_again(saved: Path, tmp_path: Path) -> None:
    loaded = load_model_file(saved)
    save_model(tmp_path / "again", loaded)
    again = load_model_file(tmp_path / "again").spec
    undated = [{**spec.provenance, "created": ""} for spec in (again, loaded.spec)]
    assert undated[0] == undated[1]
    assert dataclasses.replace(again, provenance={}) == dataclasses.replace(loaded.spec, provenance={})


def test_timm_networks_load_as_well(tmp_path: Path) -> None:
    network = create_model("timm:vit_tiny_patch16_224", descriptor_dim=8, weights="none").eval()
    save_model(tmp_path / "vit", network, training={}, metrics={}, licence="MIT")
    images = torch.rand(1, 3, 48, 64)
    with torch.no_grad():
        torch.testing.assert_close(load_model_file(tmp_path / "vit")(images), network(images))


def test_agreeing_options_are_accepted_and_others_refused(saved: Path) -> None:
    assert load_model_file(saved, backbone="ResNet18", descriptor_dim=16).descriptor_dim == 16
    with pytest.raises(ProgeoError, match="is ResNet18, descriptor_dim 16, but `backbone` ResNet50 was asked for"):
        load_model_file(saved, backbone="ResNet50")
    with pytest.raises(ProgeoError, match="but `backbone` ResNet18, `descriptor_dim` 512 was asked for"):
        load_model_file(saved, backbone="ResNet18", descriptor_dim=512)


@pytest.mark.parametrize("form", ["plain", "last_checkpoint", "data parallel", "safetensors"])
def test_published_state_dicts_load_with_both_options(form: str, network: PlaceNetwork, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    state = network.state_dict()
    if form == "plain":
        torch.save(state, path)
    elif form == "last_checkpoint":
        torch.save({"epoch_num": 3, "model_state_dict": state, "best_val_recall1": np.float64(81.2)}, path)
    elif form == "data parallel":
        torch.save({f"module.{name}": tensor for name, tensor in state.items()}, path)
    else:
        save_file(state, path)
    loaded = load_model_file(path, backbone="ResNet18", descriptor_dim=16)
    assert not loaded.training and loaded.spec.backbone == "ResNet18"
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, state[name])


@pytest.mark.parametrize("options", [{}, {"backbone": "ResNet18"}, {"descriptor_dim": 16}])
def test_a_state_dict_without_options_says_which_it_needs(options: dict[str, Any], state_dict: Path) -> None:
    with pytest.raises(
        ProgeoError, match="Give `backbone` and `descriptor_dim`; it looks like ResNet18, descriptor_dim 16"
    ):
        load_model_file(state_dict, **options)


def test_a_state_dict_of_another_network_is_refused(state_dict: Path) -> None:
    with pytest.raises(ProgeoError) as caught:
        load_model_file(state_dict, backbone="ResNet50", descriptor_dim=64)
    message = str(caught.value)
    assert "are not those of ResNet50, descriptor_dim 64" in message
    assert "The file looks like ResNet18, descriptor_dim 16." in message
    with pytest.raises(ProgeoError, match=r"aggregation.3.weight is \(16, 512\) instead of \(64, 512\)"):
        load_model_file(state_dict, backbone="ResNet18", descriptor_dim=64)


def test_a_state_dict_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "other.pth")
    with pytest.raises(ProgeoError, match=r"no place recognition model: it has no tensor aggregation.3.weight"):
        load_model_file(tmp_path / "other.pth")


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProgeoError, match="Cannot read the model file .*nothing: No such file"):
        load_model_file(tmp_path / "nothing")
    with pytest.raises(ProgeoError, match="Cannot read the model file .*: Is a directory"):
        load_model_file(tmp_path)


@pytest.mark.parametrize("part", [0, 5, 300, 100_000])
def test_truncated_files_are_refused(part: int, saved: Path, state_dict: Path, tmp_path: Path) -> None:
    for path in (saved, state_dict):
        broken = tmp_path / path.name
        broken.write_bytes(path.read_bytes()[:part])
        with pytest.raises(ProgeoError, match=f"{broken.name} is no model file, or a damaged one"):
            load_model_file(broken)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "picture.pth").write_bytes(b"\xff\xd8\xff\xe0 not a model")
    with pytest.raises(ProgeoError, match=r"picture.pth is no model file"):
        load_model_file(tmp_path / "picture.pth")
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    with pytest.raises(ProgeoError, match=r"list.pth is no model file: it holds a list"):
        load_model_file(tmp_path / "list.pth")
    torch.save({"epoch": 3, "weight": torch.ones(2)}, tmp_path / "mixed.pth")
    with pytest.raises(ProgeoError, match="its entries epoch are no tensors"):
        load_model_file(tmp_path / "mixed.pth")


def test_code_in_a_file_does_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return (eval, (f"open({str(tmp_path / 'sprung')!r}, 'w')",))

    torch.save({"weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(ProgeoError, match=r"trap.pth is no model file, or a damaged one"):
        load_model_file(tmp_path / "trap.pth")
    assert not (tmp_path / "sprung").exists()


def test_files_of_a_later_format_or_a_damaged_card_are_refused(saved: Path, tmp_path: Path) -> None:
    tensors = load_file(saved)
    save_file(tensors, tmp_path / "later", {"format_version": json.dumps(3)})
    with pytest.raises(ProgeoError, match=r"of format 3, .* reads up to 2\. Please update progeo"):
        load_model_file(tmp_path / "later")
    save_file(tensors, tmp_path / "damaged", {"format_version": "1", "backbone": '"ResNet18"'})
    with pytest.raises(ProgeoError, match="The description inside .*damaged is damaged"):
        load_model_file(tmp_path / "damaged")


def test_a_failed_save_keeps_the_old_file(saved: Path, network: PlaceNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_the_disk(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    before = saved.read_bytes()
    monkeypatch.setattr(Path, "write_bytes", fill_the_disk)
    with pytest.raises(ProgeoError, match="Cannot write .*No space left on device"):
        save_model(saved, network, training={}, metrics={}, licence="MIT")
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
