"""Running out of memory, libraries that are not installed: one clear message each, and no other error taken for it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from progeo import cli
from progeo.errors import EXTRAS, ProgeoError, explain_lack_of_memory, explain_missing_library, require

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
    with pytest.raises(ProgeoError, match=rf'^Maps needs {library}, .*: pip install "progeo\[{EXTRAS[library]}\]"\.$'):
        require(f"{library}.part", "Maps")
    monkeypatch.setattr("progeo.cli.demo.run", lambda options: __import__(library))
    assert cli.main(["demo"]) == 2
    assert f"Error: progeo demo needs {library}, which is not installed" in capsys.readouterr().err


def test_extras_are_those_of_the_package() -> None:
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert all(f"\n{extra} = [" in text for extra in EXTRAS.values())


def test_other_missing_modules_stay_as_they_are() -> None:
    with pytest.raises(ModuleNotFoundError, match="nowhere"), explain_missing_library():
        require("nowhere")
