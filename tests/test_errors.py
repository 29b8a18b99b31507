"""Running out of memory: the same clear message wherever it happens, and no other error taken for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from progeo import cli
from progeo.errors import ProgeoError, explain_lack_of_memory

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

    monkeypatch.setattr("progeo.cli.data_toy_city.run_toy_city", exhausted)
    assert cli.main(["data", "toy-city", "town"]) == 2
    output = capsys.readouterr().err
    assert output.startswith(f"Error: {TOO_LITTLE}") and "--" not in output  # it has no option that would help
    assert f"({str(error) or 'MemoryError'})" in output
    assert len(output.splitlines()) == 1


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), explain_lack_of_memory("take less"):
        torch.zeros(2, 3) @ torch.zeros(2, 3)
