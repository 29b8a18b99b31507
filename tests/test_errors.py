"""Running out of memory, libraries that are not installed: one clear message each, and no other error taken for it."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from progeo import cli
from progeo.errors import (
    EXTRAS,
    ProgeoError,
    explain_lack_of_memory,
    explain_missing_library,
    how_to_install,
    require,
)

from .conftest import REPOSITORY

TOO_LITTLE = "There is too little memory: "


@pytest.mark.parametrize("allocate", [torch.empty, np.zeros])
def test_cpu_without_memory(allocate) -> None:  # type: ignore[no-untyped-def]
    with (
        pytest.raises(ProgeoError, match=TOO_LITTLE + r"take less\. \(.*[Aa]llocate.*\)"),
        explain_lack_of_memory("take less"),
    ):
        allocate(10**15)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB, max allowed: 9.07 GB)."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
    ],
)
def test_command_line_says_what_to_lower(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def exhausted(options: object) -> None:
        raise error

    monkeypatch.setattr("progeo.cli.data_toy_city.run", exhausted)
    assert cli.main(["data", "toy-city", "town"]) == 2
    start, output = capsys.readouterr().err.splitlines()
    assert start == "progeo data toy-city: starting"
    assert output.startswith(f"Error: {TOO_LITTLE}") and "--" not in output  # it has no option that would help
    assert f"({str(error) or 'MemoryError'})" in output


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), explain_lack_of_memory("take less"):
        torch.zeros(2, 3) @ torch.zeros(2, 3)


@pytest.mark.parametrize("library", EXTRAS)
def test_missing_library_is_answered_by_the_extra_that_brings_it(
    library: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ProgeoError, match=rf'^Maps needs {library}, .*: pip install .*\[{EXTRAS[library]}\]"\.$'):
        require(f"{library}.part", "Maps")
    monkeypatch.setattr("progeo.cli.demo.run", lambda options: __import__(library))
    assert cli.main(["demo"]) == 2
    assert f"Error: progeo demo needs {library}, which is not installed" in capsys.readouterr().err


def test_extras_are_those_of_the_package() -> None:
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert all(f"\n{extra} = [" in text for extra in EXTRAS.values())


METADATA = """Metadata-Version: 2.4
Name: progeo
Version: 0.2.0
Requires-Dist: numpy>=1.26
Requires-Dist: opencv-python-headless==5.0.0.93; extra == "rerank"
Requires-Dist: progeo[rerank]; extra == "lightglue"
Requires-Dist: kornia>=0.8; extra == "lightglue"
"""


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        (None, 'pip install "progeo[lightglue]"'),
        ({"url": "{here}", "dir_info": {"editable": True}}, 'pip install -e "{path}[lightglue]"'),
        ({"url": "{here}", "dir_info": {}}, 'pip install "{path}[lightglue]"'),
        ({"url": "{here}/a.whl", "archive_info": {}}, 'pip install "progeo[lightglue] @ {here}/a.whl"'),
        ({"url": "{here}/b.whl", "archive_info": {}}, 'pip install "opencv-python-headless==5.0.0.93" "kornia>=0.8"'),
        (
            {"url": "https://git.example/progeo", "vcs_info": {"vcs": "git", "commit_id": "0a1b"}},
            'pip install "progeo[lightglue] @ git+https://git.example/progeo@0a1b"',
        ),
    ],
    ids=["index", "checkout", "folder", "wheel", "wheel that is gone", "repository"],
)
@pytest.mark.parametrize("has_pip", [True, False])
def test_advice_fits_the_way_of_installation(
    origin: dict[str, Any] | None, command: str, has_pip: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "with a blank"
    folder.mkdir()
    (folder / "a.whl").touch()
    (tmp_path / "METADATA").write_text(METADATA, encoding="utf-8")
    if origin:
        said = json.dumps(origin).replace("{here}", folder.as_uri())
        (tmp_path / "direct_url.json").write_text(said, encoding="utf-8")
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: importlib.metadata.PathDistribution(tmp_path))
    monkeypatch.setattr("progeo.errors.find_spec", lambda name: has_pip or None)
    expected = command.replace("{here}", folder.as_uri()).replace("{path}", str(folder))
    assert how_to_install("lightglue") == ("" if has_pip else "uv ") + expected


def test_advice_for_a_clone_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_none(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", find_none)
    assert how_to_install("places") == f'pip install -e "{REPOSITORY}[places]"'


def test_other_missing_modules_stay_as_they_are() -> None:
    with pytest.raises(ModuleNotFoundError, match="nowhere"), explain_missing_library():
        require("nowhere")
