"""What a stage says of its cost before it starts."""

from __future__ import annotations

import torch

from progeo.training.overview import measure_step


def test_kept_bytes_are_those_of_one_step() -> None:
    weight = torch.zeros(1000, requires_grad=True)
    results = []  # stay alive, so that no step gets the memory of the one before

    def step() -> torch.Tensor:
        results.append(weight.exp())  # its backward pass keeps the result, 1000 float32
        return results[-1].sum()

    assert measure_step(step).kept_bytes == 4000
    assert len(results) == 2
