"""The public names and their signatures, which others write code against."""

from __future__ import annotations

import inspect
import subprocess
import sys
import warnings
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import progeo
from progeo.models import PlaceNetwork

PARAMETERS = {
    "create_model": "backbone, *, head, descriptor_dim, weights, seed, unfreeze, train_all_layers, frozen_stages, "
    "image_size, backbone_arguments, head_arguments",
    "encode": "model, photos, *, device, batch_size, num_workers, progress, output, trust_remote_code",
    "evaluate": "model, evaluation_set, *, protocol, image_size, native, positive_dist_threshold, k, rerank, "
    "candidates, device, engine, batch_size, num_workers, description, descriptors_folder, cache_folder, "
    "explain, trust_remote_code",
    "fit": "photos, model, *, head, words, pca, whitening, seed, image_size, features_folder, device, batch_size, "
    "num_workers, progress, trust_remote_code",
    "list_models": "pattern, *, details",
    "load_model": "name_or_path, *, device, trust_remote_code, backbone, descriptor_dim, fc_output_dim",
    "read_photos": "source, cache_folder, *, columns, split, heading_from, local_frame, one_plane, faults",
    "register_backbone": "*names",
    "register_head": "name, *, needs, fixed_dim, own_dim, needs_grid",
    "register_method": "name",
    "train": "model, photos, *, method, val, test, folder, seed, device, **settings",
    "PlaceDatabase.create": "address, model, *, exist_ok, local_frame, **settings",
    "PlaceDatabase.open": "address, *, version, index_cache_gb, model, trust_remote_code, device, engine, "
    "precision, batch_size, num_workers, show_progress",
    "PlaceDatabase.add": "self, photos",
    "PlaceDatabase.calibrate": "self",
    "PlaceDatabase.locate": "self, photos, *, prior, k, min_confidence, even_unknown, exact, rerank",
}


def list_parameters(function: Any) -> str:
    """The names of a function's parameters, with the star before those that must be named."""
    found: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in found and not any(x.startswith("*") for x in found):
            found.append("*")
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        found.append(stars + parameter.name)
    return ", ".join(found)


def test_only_the_public_names_are_listed() -> None:
    names = [name.partition(".")[0] for name in PARAMETERS]
    assert dir(progeo) == sorted({*names, "ProgeoError", "__version__"})
    assert all(getattr(progeo, name) is not None for name in dir(progeo))
    with pytest.raises(AttributeError, match="no attribute 'lod_model'"):
        progeo.lod_model  # noqa: B018


@pytest.mark.parametrize("name", PARAMETERS)
def test_signatures_stay(name: str) -> None:
    found: Any = progeo
    for part in name.split("."):
        found = getattr(found, part)
    assert list_parameters(found) == PARAMETERS[name]


def test_names_of_before_warn_once() -> None:
    for name in ("create_network", "extract_descriptors"):
        vars(progeo).pop(name, None)
        with pytest.warns(DeprecationWarning, match=f"progeo.{name} is now progeo"):
            getattr(progeo, name)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert callable(getattr(progeo, name))


@pytest.fixture
def model() -> PlaceNetwork:
    return progeo.create_model("timm:test_resnet", descriptor_dim=8, weights="none")


def test_encode_takes_one_photo_or_several(model: PlaceNetwork, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    expected = progeo.encode(model, path)
    assert expected.shape == (1, 8) and expected.dtype == np.float32
    photos = [path, str(path), path.read_bytes(), Image.open(path), pixels, torch.from_numpy(pixels).permute(2, 0, 1)]
    np.testing.assert_allclose(progeo.encode(model, photos), np.repeat(expected, 6, axis=0), atol=1e-5)
    assert model.training  # encoding leaves the model in its mode
    torch.testing.assert_close(progeo.encode(model, path, output="torch"), torch.from_numpy(expected))


def test_works_in_a_thread(model: PlaceNetwork, tiny_city: Path) -> None:
    results: list[Any] = []

    def work() -> None:
        photos = sorted((tiny_city / "test/database").iterdir())
        results.append(model.encode(photos))
        results.append(progeo.evaluate(model, tiny_city / "test").recalls[1])

    thread = Thread(target=work)
    thread.start()
    thread.join()
    descriptors, recall = results
    assert descriptors.shape == (8, 8) and 0 <= recall <= 100


def test_importing_costs_nothing() -> None:
    code = (
        "import sys, progeo; dir(progeo); progeo.__version__; print([name for name in "
        "('torch', 'polars', 'numpy', 'PIL', 'lancedb', 'jsonargparse', 'rich') if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output == "[]\n"
