"""Training in several processes, each started afresh, against training in one."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from progeo.training.launching import launch
from tests.conftest import REPOSITORY
from tests.training.rank_cases import COMPARED, LOCAL, RESUMED, run_job

Results = dict[tuple[str, torch.dtype], dict[str, Any]]

BOUNDS = {torch.float64: (1e-8, 1e-8), torch.float32: (1e-5, 1e-4)}
"""By how much losses, and weights as a whole, may differ from those of one process, as shares of these.

As a whole, because Adam makes whole steps of gradients that are 0 but for rounding, as those of some biases are.
"""


@pytest.fixture(scope="module")
def runs(
    tiny_city: Path, tiny_clips: dict[str, str], tiny_clip_configs: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[Results]]:
    """What each rank did, by the name of the job."""
    folder = tmp_path_factory.mktemp("ranks")
    runs = {}

    def run(processes: int, *jobs: str) -> None:
        if processes == 1:
            for job in jobs:
                run_job(job, tiny_city, folder)
        else:
            arguments = [str(tiny_city), str(tiny_clip_configs), str(folder), *jobs]
            assert launch([sys.executable, "-m", "tests.training.rank_cases", *arguments], processes, 1) == 0
        for name in (job.partition(":")[0] for job in jobs):
            runs[name] = [torch.load(folder / f"{name}.{rank}.pt") for rank in range(processes)]

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
        run(1, "one", "stopped_one:stop")
        run(2, "two", "stopped_two:stop", "one_to_two:stopped_one", "local")
        run(4, "four")
        run(1, "two_to_one:stopped_two")
    torch.set_num_threads(threads)
    return runs


def compare(found: dict[str, Any], expected: dict[str, Any], dtype: torch.dtype) -> None:
    of_losses, of_weights = BOUNDS[dtype]
    # A run that goes on has the last losses only.
    assert found["losses"] == pytest.approx(expected["losses"][-len(found["losses"]) :], rel=of_losses)
    parts: dict[str, list[str]] = {}
    for name in found["weights"]:
        parts.setdefault(".".join(name.split(".")[:2]), []).append(name)
    for part, names in parts.items():
        difference = [(found["weights"][name] - expected["weights"][name]).flatten().double() for name in names]
        size = [expected["weights"][name].flatten().double() for name in names]
        assert torch.cat(difference).norm() <= of_weights * torch.cat(size).norm(), part


@pytest.mark.parametrize(
    ("name", "case", "dtype"), [(name, *one) for name in ("two", "four") for one in COMPARED[name]], ids=str
)
def test_ranks_do_what_one_process_does(
    runs: dict[str, list[Results]], name: str, case: str, dtype: torch.dtype
) -> None:
    of_ranks = [results[case, dtype] for results in runs[name]]
    (expected,) = (results[case, dtype] for results in runs["one"])
    assert len(expected["losses"]) >= 20
    compare(of_ranks[0], expected, dtype)
    for other in of_ranks[1:]:
        assert other["losses"] == of_ranks[0]["losses"]
        assert all(torch.equal(weights, of_ranks[0]["weights"][key]) for key, weights in other["weights"].items())


@pytest.mark.parametrize("case", RESUMED)
@pytest.mark.parametrize("name", ["two_to_one", "one_to_two"])
def test_a_run_goes_on_with_another_number_of_ranks(runs: dict[str, list[Results]], name: str, case: str) -> None:
    dtype = torch.float64
    stopped = runs["stopped_two" if name == "two_to_one" else "stopped_one"]
    (expected,) = (results[case, dtype] for results in runs["one"])
    # A signal to one rank stops all after the same step.
    left = 6
    assert {len(results[case, dtype]["losses"]) for results in stopped} == {len(expected["losses"]) - left}
    for results in runs[name]:
        assert len(results[case, dtype]["losses"]) == left
        compare(results[case, dtype], expected, dtype)


def test_ranks_with_groups_of_their_own_end_with_the_same_weights(runs: dict[str, list[Results]]) -> None:
    first, second = (results[LOCAL, torch.float64] for results in runs["local"])
    assert first["losses"] != second["losses"]
    for key, weights in first["weights"].items():
        assert torch.equal(weights, second["weights"][key]), key
    one = runs["one"][0]["cosplace, batch norm", torch.float64]["weights"]
    of_classifiers = [key for key in one if ".classifiers." in key]
    assert len(of_classifiers) == 2
    assert all(not torch.equal(first["weights"][key], one[key]) for key in of_classifiers)
