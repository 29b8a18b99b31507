"""Model files that somebody made to harm, or that were damaged: one message with the file's name, and soon."""

from __future__ import annotations

import copy
import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from progeo.errors import ProgeoError
from progeo.models.building import create_model
from progeo.models.engines.graphs import GraphCard
from progeo.models.files import load_model_file, save_model

Change = Callable[..., Path]


@pytest.fixture
def change(tmp_path: Path) -> Change:
    """Write a small model file with other parts of its spec, other tensors or other entries."""
    path = tmp_path / "city.safetensors"
    network = create_model("timm:test_resnet", descriptor_dim=16, weights="none", seed=0)
    network.set_image_size(32)
    save_model(path, network)
    with safe_open(path, framework="pt") as file:
        kept, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    def write(
        spec: dict[str, Any] | None = None,
        cast: Callable[[torch.Tensor], torch.Tensor] | None = None,
        entries: dict[str, str] | None = None,
    ) -> Path:
        changed = {name: cast(tensor) for name, tensor in tensors.items()} if cast else tensors
        content = json.loads(kept["spec"]) | (spec or {})
        save_file(changed, path, {**kept, "spec": json.dumps(content), **(entries or {})})
        return path

    return write


def refuse(path: Path, *parts: str) -> None:
    with pytest.raises(ProgeoError) as raised:
        load_model_file(path)
    for part in (str(path), *parts):
        assert part in str(raised.value)


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


@pytest.mark.parametrize(
    "spec",
    [
        {"descriptor_dim": 10**6},
        {"backbone": "timm:vit_giant_patch14_dinov2"},
        {"head": "mixvpr", "head_arguments": {"grid": [10**4, 10**4]}},
        {"head": "mixvpr", "head_arguments": {"grid": [10**6, 10**6]}},
        {"head": "mixvpr", "head_arguments": {"depth": 10**7}},
        {"head": "netvlad", "head_arguments": {"clusters": 10**8}},
        {"head": "boq", "head_arguments": {"blocks": 10**7}, "descriptor_dim": 512},
    ],
    ids=["dimension", "backbone", "grid", "overflow", "depth", "clusters", "blocks"],
)
def test_a_small_file_that_asks_for_much_gets_no_memory(
    spec: dict[str, Any], change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("progeo.models.files.identify", lambda tensors: "")  # takes seconds
    before = peak_megabytes()
    refuse(change(spec))
    assert peak_megabytes() - before < 300


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"backbone_arguments": {"depth": 3}}, "depth"),
        ({"backbone_arguments": {"name": "x"}}, "name"),
        ({"head": "mixvpr", "head_arguments": {"rows": 0}}, "zero"),
        ({"head": "netvlad", "head_arguments": {"clusters": "x"}}, "clusters"),
        ({"head": "netvlad", "head_arguments": {"clusters": -1}}, "negative"),
        ({"backbone": "DINOv2-S", "head": "salad", "head_arguments": {"iterations": 10**9}}, "iterations"),
    ],
)
def test_arguments_that_cannot_be_are_named(spec: dict[str, Any], message: str, change: Change) -> None:
    with pytest.raises(ProgeoError, match=message):
        load_model_file(change(spec))


@pytest.mark.parametrize("version", ["Infinity", "1e999", "null", "[]", "2.0", "x", "true", "9" * 5000, "[" * 10**5])
def test_a_format_that_is_no_number_is_damage(version: str, change: Change) -> None:
    refuse(change(entries={"format_version": version}), "damaged")


def test_a_deeply_nested_description_is_damage(change: Change) -> None:
    for depth in (200, 900, 100_000):
        refuse(change(entries={"spec": "[" * depth + "]" * depth}), "nested too deep")


@pytest.mark.parametrize("number", ["512.7", "Infinity", "0", "true", '"512"'])
def test_cards_of_the_first_format_are_checked_as_well(number: str, change: Change) -> None:
    path = change()
    with safe_open(path, framework="pt") as file:
        preprocessing = json.dumps(json.loads(file.metadata()["spec"])["preprocessing"])
    entries = {"backbone": '"ResNet18"', "fc_output_dim": number, "preprocessing": preprocessing}
    refuse(change(entries={**entries, "format_version": "1"}), "descriptor_dim")


@pytest.mark.parametrize("kind", [torch.bool, torch.complex64, torch.int64, torch.uint8])
def test_weights_of_another_kind_are_not_cast(kind: torch.dtype, change: Change) -> None:
    refuse(change(cast=lambda tensor: tensor.to(kind)), str(kind))


def test_weights_that_are_no_numbers_are_named(change: Change) -> None:
    refuse(change(cast=lambda tensor: tensor * torch.nan if tensor.is_floating_point() else tensor), "holds NaN")
    assert load_model_file(change(cast=lambda tensor: tensor.half() if tensor.is_floating_point() else tensor))


@pytest.mark.parametrize("size", ["[1]", "[0, 5]", "[1.5, 2]", "[true, 1]", "{}", "3", "[1e999, 1]", "[" * 10**5])
def test_the_size_of_a_graph_is_checked(size: str, change: Change) -> None:
    with safe_open(change(), framework="pt") as file:
        card = {"progeo_format": "1", "progeo_spec": file.metadata()["spec"], "progeo_fingerprint": "0"}
    assert GraphCard.from_metadata({**card, "progeo_size": "[32, 48]"}, "here").size == (32, 48)
    with pytest.raises(ProgeoError, match=r"The description inside city\.onnx is damaged"):
        GraphCard.from_metadata({**copy.copy(card), "progeo_size": size}, "city.onnx")


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_pickle_is_not_run_and_nothing_is_printed(
    legacy: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return print, ("run",)

    path = tmp_path / "model.pth"
    torch.save({"weight": Evil()}, path, _use_new_zipfile_serialization=not legacy)
    refuse(path, "no model file")
    assert capfd.readouterr() == ("", "")
