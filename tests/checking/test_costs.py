"""What a recommended training costs, measured on a small network."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from progeo.checking.classes import Recommendation
from progeo.checking.costs import Cost, describe_way_out, estimate_cost
from progeo.training.overview import StepCost, format_duration

SETTINGS: dict[str, Any] = {
    **{"backbone": "timm:test_resnet", "image_size": 64, "epochs_num": 3, "iterations_per_epoch": 75},
}
BEST = Recommendation(SETTINGS, largest_group=100, why="")


def test_memory_grows_with_the_classes() -> None:
    said: list[str] = []
    few, many = (
        float(estimate_cost(dataclasses.replace(BEST, largest_group=classes), said.append).memory.split()[1])
        for classes in (100, 1_000_000)
    )
    assert many - few == pytest.approx(16 * 512 * 1_000_000 / 1e9, abs=0.5)
    assert said[0] == "Measuring a training step of timm:test_resnet at 64 px on this machine's processor"


def test_time_is_that_of_all_steps_with_a_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("progeo.checking.costs.measure_step", lambda step: StepCost(2.0, 0))
    cost = estimate_cost(BEST)
    assert (cost.seconds, cost.time) == (3600.0, "about 60 minutes on this machine's processor")
    assert not cost.is_too_long and Cost("", 90_000).is_too_long


def test_the_way_out_is_a_smaller_training() -> None:
    way_out = describe_way_out(BEST)
    assert "GPU" in way_out and "`backbone` EfficientNet-Lite0 `image_size` 224 `iterations_per_epoch` 7" in way_out


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1 second"),
        (40, "40 seconds"),
        (95, "1.6 minutes"),
        (300, "5 minutes"),
        (7200, "2 hours"),
        (1e6, "12 days"),
    ],
)
def test_durations_come_in_sensible_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
