"""Choosing a device, getting data there, and seeds."""

from __future__ import annotations

import pytest
import torch

from progeo.devices import channel_constant, choose_device, copy_to, derive_seed
from progeo.errors import ProgeoError
from progeo.models.images import normalize
from progeo.pixels.recipe import Preprocessing


def pretend(monkeypatch: pytest.MonkeyPatch, *, cuda: bool, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu"), (True, False, "cuda")],
)
def test_auto_takes_the_fastest_there_is(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, chosen: str) -> None:
    pretend(monkeypatch, cuda=cuda, mps=mps)
    assert choose_device("auto") == torch.device(chosen)
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device(chosen) == torch.device(chosen)


def test_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=False, mps=True)
    with pytest.raises(ProgeoError, match=r"`device` cuda: PyTorch finds no such .* Available: mps, cpu \(or `device`"):
        choose_device("cuda")


@pytest.mark.parametrize(("device", "waits"), [("cuda", False), ("cuda:1", False), ("mps", True), ("cpu", True)])
def test_only_copies_to_cuda_are_not_waited_for(device: str, waits: bool) -> None:
    class Copied:
        def to(self, device: str, non_blocking: bool) -> tuple[str, bool]:
            return device, non_blocking

    assert copy_to(Copied(), device) == (device, not waits)  # type: ignore[arg-type, comparison-overlap]


def test_constants_are_made_once_and_serve_training_after_describing() -> None:
    channel_constant.cache_clear()
    images, preprocessing = torch.rand(2, 3, 4, 5, requires_grad=True), Preprocessing()
    with torch.inference_mode():
        described = normalize(images, preprocessing)
    trained = normalize(images, preprocessing)
    trained.sum().backward()
    assert torch.equal(described, trained.detach())
    torch.testing.assert_close(images.grad[0, :, 0, 0], 1 / torch.tensor(preprocessing.std))
    assert channel_constant.cache_info().misses == 2


def test_derived_seeds_differ() -> None:
    assert len({derive_seed(0, epoch, step) for epoch in range(20) for step in range(20)}) == 400
    assert len({derive_seed(*[0] * count) for count in range(1, 6)}) == 5
    assert 0 <= derive_seed(1, 2) < 2**63
