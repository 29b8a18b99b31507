"""The scripts that measure speed run, in their smallest form; nothing here depends on how long anything takes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import compare, gpu, published, published_parts


def test_the_gpu_script_runs_on_the_processor() -> None:
    rows = list(gpu.measure_all(gpu.SMALL, torch.device("cpu"), 0.0))
    assert [row[1] for row in rows][:5] == ["published step", "float32", "AMP", "float32", "half"]
    assert all(row[2].endswith("images a second") for row in rows)


def test_figures_are_ratios_to_fixed_work() -> None:
    ratios = compare.measure(*compare.make_jobs(scale=20), repeats=2)
    assert len(ratios) >= 5
    assert all(len(values) == 2 and min(values) > 0 for values in ratios.values())


def test_published_code_is_compared_where_there_is_a_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["published", "--repository", str(tmp_path), "--test_set_folder", str(tmp_path), "--pairs", "1"]
    monkeypatch.setattr(sys, "argv", words)
    published.main()
    assert "no clone of CosPlace: nothing is measured" in capsys.readouterr().out
    # Both sides are scripts that find in1d and print what the published ones print.
    script = (
        'import numpy, sys; numpy.in1d; assert "--resume_model" in sys.argv; print("R@1: 50.0, R@5: 60.0, R@10: 70.0")'
    )
    ours = tmp_path / "ours"
    ours.mkdir()
    for folder in (tmp_path, ours):
        (folder / "eval.py").write_text(script)
    monkeypatch.setattr(published, "REPOSITORY", ours)
    monkeypatch.setattr(sys, "argv", [*words, "--backbones", "ResNet18"])
    monkeypatch.setattr(os, "environ", dict(os.environ))
    published.main()
    assert "equal" in capsys.readouterr().out


@pytest.mark.parametrize("part", published.PARTS)
def test_progeo_does_every_part_that_is_compared(part: str) -> None:
    assert part in published_parts.PARTS
    published_parts.MAKERS[part](published_parts.OURS, "", True)()
