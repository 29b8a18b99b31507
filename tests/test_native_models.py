"""Every published model through ``eval``, ``index`` and ``locate``: six small photos, weights of a rule."""

from __future__ import annotations

import dataclasses
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import progeo
from progeo.models import published
from progeo.models.building import build
from progeo.models.catalogue import PublishedModel, list_published

# One stands for all of a family: the parity tests build each of them.
FAMILIES = {name.partition(":")[0]: name for name in reversed(list_published()) if not name.startswith("cosplace:")}
NAMES = sorted(FAMILIES.values())
SMALLEST = {FAMILIES["eigenplaces"]: 64, "salad": 126, "megaloc": 126, "boq-dinov2": 56, "boq-resnet50": 64}
"""Sizes of the photos where another one than the published can be: SALAD's 64 clusters need 81 patches."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four places 100 m apart in the database, the first two of them photographed again."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for place in range(4):
        pixels = np.asarray(
            Image.fromarray(generator.integers(0, 256, (5, 6, 3), dtype=np.uint8)).resize((72, 60), 0), np.int16
        )
        for part in ("database", "queries") if place < 2 else ("database",):
            noise = generator.integers(-3, 4, pixels.shape)
            (folder / part).mkdir(exist_ok=True)
            name = f"@{500000 + 100 * place}.0@4000000.0@31@S@@@{place}{part}@@0@@@@@@.png"
            Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8)).save(folder / part / name)
    return folder


def write_weights(model: PublishedModel, path: Path) -> None:
    """Write the file that the authors publish, with weights that are windows of one row of random numbers.

    So that the file is small and quickly made, whatever the model.
    """
    row = torch.randn(1_200_000, generator=torch.Generator().manual_seed(0)) * 0.05
    with torch.device("meta"):
        ours = build(model.spec).state_dict()
    theirs = {own: name for name, own in reversed(list(model.prefixes.items()))}
    tensors = {}
    for name, tensor in ours.items():
        start = next((own for own in theirs if name.startswith(own)), "")
        key = theirs.get(start, "") + name.removeprefix(start)
        assert model.rename(key) == name
        offset = zlib.crc32(key.encode()) % 50_000
        if tensor.ndim > 1:
            inner = torch.empty(tensor.shape[1:], device="meta").stride()
            window = row[offset:].as_strided(tensor.shape, (7, *inner))
            tensors[key] = window.clone() if window.is_contiguous() else window  # model files keep no shared memory
        elif name.endswith(("weight", "running_var", "gamma")):
            tensors[key] = torch.ones(tensor.shape)
        elif name.endswith(".p"):
            tensors[key] = torch.full(tensor.shape, 3.0)
        else:
            tensors[key] = torch.zeros(tensor.shape, dtype=tensor.dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tensors | {name: torch.zeros(1) for name in model.ignored}, path)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model whose file is in the cache, at the smallest size that it can be used at."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name: str = request.param
    model = dataclasses.replace(list_published()[name], file="weights.pth")
    if name == "megaloc":  # a gigabyte with all rows of its last layer, which the parity test has
        model = dataclasses.replace(model, spec=dataclasses.replace(model.spec, descriptor_dim=512))
    monkeypatch.setattr(published, "list_published", lambda: {name: model})
    write_weights(model, published.find_cached(model))
    return name


def test_eval_index_and_locate(name: str, photos: Path) -> None:
    network = progeo.load_model(name)
    if size := SMALLEST.get(name):
        network.set_image_size(size)
    assert progeo.evaluate(network, photos).recalls[1] == 100
    database = progeo.PlaceDatabase.create("places", network)
    database.add(progeo.read_photos(photos / "database"))
    query = min((photos / "queries").iterdir())
    (located,) = database.locate([query])
    assert located.matches[0].path.endswith("0database@@0@@@@@@.png")
