"""The examples that need programs beside progeo: they compile, and the hloc one hands over what hloc reads."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from progeo import cli
from progeo.models.building import create_model
from progeo.models.files import save_model

from .conftest import REPOSITORY

EXAMPLES = sorted((REPOSITORY / "examples").rglob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_compile(path: Path) -> None:
    compile(path.read_text(encoding="utf-8"), str(path), "exec")


def test_hloc_gets_pairs_that_it_reads(tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """hloc itself is not here: what stands in for it reads the pairs as hloc does, one of two names a line."""
    images, out = tiny_city / "test/database", tmp_path / "out"
    network = create_model("timm:test_resnet", descriptor_dim=16, weights="none").eval()
    save_model(tmp_path / "model.safetensors", network)
    reconstructed: list[list[str]] = []

    def reconstruct(sfm: Path, folder: Path, pairs: Path, features: Path, matches: Path) -> None:
        reconstructed.extend(line.split() for line in pairs.read_text(encoding="utf-8").splitlines())

    steps = {
        "extract_features": SimpleNamespace(
            confs={"aliked-n16": {"output": "feats"}}, main=lambda *_: out / "feats.h5"
        ),
        "match_features": SimpleNamespace(confs={"aliked+lightglue": {}}, main=lambda *_: out / "matches.h5"),
        "reconstruction": SimpleNamespace(main=reconstruct),
    }
    hloc: Any = ModuleType("hloc")
    vars(hloc).update(steps)
    monkeypatch.setitem(sys.modules, "hloc", hloc)

    def run(words: list[Any], check: bool) -> None:
        assert check and cli.main([*map(str, words[1:]), "--device", "cpu"]) == 0

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["reconstruct.py", str(images), str(out), str(tmp_path / "model.safetensors")])
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(REPOSITORY / "examples/hloc/reconstruct.py"), run_name="__main__")
    assert reconstructed
    assert {len(pair) for pair in reconstructed} == {2}
    assert all((images / name).is_file() for pair in reconstructed for name in pair)
