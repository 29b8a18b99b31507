"""What memory encoding takes: noticed while it is taken, and only what came after the start."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from progeo.evaluation.memory import MemoryWatch, count_weights, read_own_memory
from progeo.models.building import create_model


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_the_peak_counts_what_was_taken_meanwhile_though_it_is_free_again() -> None:
    kept = np.ones(40_000_000 // 8)
    with MemoryWatch("cpu") as watch:
        taken = np.ones(80_000_000 // 8)
        del taken
        held = np.ones(20_000_000 // 8)
    assert watch.peak is not None
    assert 19_000_000 < watch.peak < 120_000_000
    assert len(held) < len(kept)


def test_systems_that_do_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_own_memory(tmp_path / "status") is None
    (tmp_path / "status").write_text("VmRSS:  12 kB\nRssAnon:\t  8 kB\n")
    assert read_own_memory(tmp_path / "status") == 8192
    monkeypatch.setattr("progeo.evaluation.memory.read_own_memory", lambda: None)
    with MemoryWatch("cpu") as watch:
        pass
    assert watch.peak is None


def test_weights_are_counted_with_what_they_take() -> None:
    network = create_model("timm:test_resnet", descriptor_dim=8, weights="none")
    numbers = sum(p.numel() for p in network.parameters())
    assert 4 * numbers <= count_weights(network) < 4.2 * numbers + 100_000
