"""Photos to descriptors: any size, order and colour mode, batched by size, at the model's size or their own."""

from __future__ import annotations

import dataclasses
import threading
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from progeo.errors import ProgeoError
from progeo.models.building import create_model
from progeo.models.encoder import Encoder
from progeo.models.engines import torch as engines
from progeo.models.features import Features
from progeo.models.network import PlaceNetwork
from progeo.pixels.recipe import Preprocessing, read_pixels


class QuarterColours(nn.Module):
    """Describes an image by its height, its width and the mean colours of its quarters, and counts its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(images))
        size = torch.tensor(images.shape[2:]).expand(len(images), 2)
        return torch.cat([size, nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)], dim=1)


class ClassToken(nn.Module):
    def forward(self, features: Features) -> torch.Tensor | None:
        return features.cls


def make_encoder(image_size: int = 30, native: bool = True, **settings: Any) -> tuple[Encoder, list[int]]:
    """An encoder of quarter colours, and the sizes of its batches."""
    backbone = QuarterColours()
    preprocessing = Preprocessing(image_size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    network = PlaceNetwork.compose(backbone, ClassToken(), preprocessing=preprocessing)
    backbone.batches.clear()
    preprocessing = dataclasses.replace(preprocessing, native=native)
    return Encoder.create(network, preprocessing=preprocessing, **settings), backbone.batches


def describe(paths: list[str], **settings: Any) -> np.ndarray[Any, Any]:
    return make_encoder(**settings)[0].encode(paths)


def write_noise(folder: Path, sizes: list[tuple[int, int]]) -> list[str]:
    """Write an image of noise in each size (width, height)."""
    generator = np.random.default_rng(0)
    paths = []
    for number, (width, height) in enumerate(sizes):
        paths.append(str(folder / f"{number}.png"))
        Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(paths[-1])
    return paths


@pytest.mark.parametrize("num_workers", [0, 2])
def test_mixed_sizes_come_back_in_order_as_one_by_one(tmp_path: Path, num_workers: int) -> None:
    # More different sizes than wait for their batch to fill, and two sizes that fill several.
    sizes = [(20, 14), (14, 20)] * 4 + [(8 + k, 50 - k) for k in range(40)] + [(20, 14)]
    paths = write_noise(tmp_path, sizes)
    encoder, batches = make_encoder(batch_size=2, num_workers=num_workers)
    together = encoder.encode(paths)
    assert together.dtype == np.float32
    assert together[:, :2].tolist() == [[height, width] for width, height in sizes]
    assert max(batches) == 2
    np.testing.assert_allclose(together, np.concatenate([describe([path]) for path in paths]), rtol=1e-6)


def test_memory_is_bounded_whatever_the_sizes(tmp_path: Path) -> None:
    encoder, _ = make_encoder(batch_size=2)
    waiting = 0
    most = 0

    def images() -> Any:
        nonlocal waiting, most
        for size in range(200):
            waiting += 1
            most = max(most, waiting)
            yield size, np.zeros((4, 4 + size, 3), np.uint8)

    described: list[int] = []
    for keys, descriptors in encoder.encode_pixels(images()):
        assert len(keys) == len(descriptors) <= 2
        waiting -= len(keys)
        described += keys
    assert sorted(described) == list(range(200)) and most <= 32


def test_photos_of_one_size_share_a_batch(tmp_path: Path) -> None:
    encoder, batches = make_encoder(batch_size=4)
    counts: list[int] = []
    encoder.encode(write_noise(tmp_path, [(20, 14), (14, 20)] * 4), advance=counts.append)
    assert batches == counts == [4, 4]


def test_a_network_describes_batches_as_single_photos(tmp_path: Path) -> None:
    network = create_model("timm:test_resnet", descriptor_dim=16, weights="none").eval()
    paths = write_noise(tmp_path, [(48, 40), (40, 48), (48, 40), (64, 64), (48, 40)])
    together = network.encode(paths, batch_size=3)
    one_by_one = np.concatenate([network.encode(path) for path in paths])
    np.testing.assert_allclose(together, one_by_one, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    assert np.abs(together[0] - together[2]).max() > 1e-3


@pytest.mark.parametrize(("size", "resized"), [((120, 90), (40, 30)), ((45, 120), (30, 80)), ((12, 10), (36, 30))])
def test_resized_to_the_models_shorter_side(tmp_path: Path, size: tuple[int, int], resized: tuple[int, int]) -> None:
    (path,) = write_noise(tmp_path, [size])
    (native,) = describe([path])
    (descriptor,) = describe([path], native=False)
    assert native[:2].tolist() == [size[1], size[0]]
    assert descriptor[:2].tolist() == [resized[1], resized[0]]
    Image.open(path).resize(resized, Image.Resampling.BILINEAR).save(tmp_path / "resized.png")
    (expected,) = describe([str(tmp_path / "resized.png")])
    np.testing.assert_allclose(descriptor, expected, atol=0.005)


def test_colour_modes_and_orientations_are_described_alike(odd_photos: dict[str, Path]) -> None:
    described = describe([str(path) for path in odd_photos.values()])
    for name, descriptor in zip(odd_photos, described, strict=True):
        grey = "grey" in name
        expected = described[list(odd_photos).index("grey" if grey else "rgb")]
        assert np.abs(descriptor - expected).max() <= (0.03 if name == "cmyk" else 0.003), name


def test_no_photos() -> None:
    assert describe([]).shape == (0, 14)


def test_photo_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    paths = write_noise(tmp_path, [(20, 14)] * 3)
    Path(paths[1]).write_bytes(b"broken")
    with pytest.raises(ProgeoError, match=r"The image .*/1\.png cannot be read"):
        describe(paths)
    described, failures = make_encoder()[0].encode_readable([paths[2], paths[1], paths[0]])
    assert list(described) == [paths[2], paths[0]] and list(failures) == [paths[1]]
    np.testing.assert_array_equal(described[paths[0]], describe([paths[0]])[0])


def test_encode_is_always_in_evaluation_mode_and_leaves_the_network_as_it_was() -> None:
    network = create_model("timm:test_resnet", descriptor_dim=8, weights="none").train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    photo = np.zeros((40, 50, 3), np.uint8)
    descriptors = network.encode([photo, photo], output="torch")
    assert network.training and descriptors.shape == (2, 8) and descriptors.dtype == torch.float32
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    np.testing.assert_allclose(descriptors, network.eval().encode([photo] * 2), atol=1e-6)
    with pytest.raises(ProgeoError, match="`output` is numpy or torch, not 'jax'"):
        network.encode(photo, output="jax")  # type: ignore[arg-type]


def test_one_photo_is_one_photo(tmp_path: Path) -> None:
    network = create_model("timm:test_resnet", descriptor_dim=8, weights="none").eval()
    (path,) = write_noise(tmp_path, [(40, 30)])
    pixels = read_pixels(path, Preprocessing(native=True))
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    expected = network.encode([path])
    for photo in (
        path,
        Path(path),
        Path(path).read_bytes(),
        Image.open(path),
        pixels,
        tensor,
        BytesIO(Path(path).read_bytes()),
    ):
        np.testing.assert_allclose(network.encode(photo), expected, atol=1e-6)
    for photos in (np.stack([pixels] * 2), torch.stack([tensor] * 2), (path, path), iter([path, path])):
        np.testing.assert_allclose(network.encode(photos), np.repeat(expected, 2, axis=0), atol=1e-6)  # type: ignore[arg-type]


def test_it_works_in_threads(tmp_path: Path) -> None:
    network = create_model("timm:test_resnet", descriptor_dim=8, weights="none").eval()
    paths = write_noise(tmp_path, [(40, 30)] * 4)
    expected = network.encode(paths)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(network.encode(paths))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    for descriptors in found:
        np.testing.assert_allclose(descriptors, expected, atol=1e-6)


def test_lack_of_memory_says_what_to_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: Any) -> Any:
        raise RuntimeError("CUDA out of memory. Tried to allocate 5 TiB")

    encoder, _ = make_encoder()
    monkeypatch.setattr(engines, "normalize", exhausted)
    with pytest.raises(ProgeoError, match="too little memory: lower `batch_size`"):
        encoder.encode([np.zeros((9, 9, 3), np.uint8)])
    with pytest.raises(ProgeoError, match="`batch_size` must be at least 1, not 0"):
        make_encoder(batch_size=0)


def test_fingerprints_tell_models_apart_by_what_they_do() -> None:
    def encoder(**settings: Any) -> Encoder:
        network = create_model("timm:test_vit", **{"descriptor_dim": 8, "weights": "none"} | settings).eval()
        return Encoder.create(network)

    assert encoder().fingerprint == encoder().fingerprint != encoder(seed=1).fingerprint
    assert (
        encoder(head="cls", descriptor_dim=None).fingerprint
        != encoder(head="identity", descriptor_dim=None).fingerprint
    )
    resized = encoder()
    resized.model.preprocessing = Preprocessing(99)
    assert resized.fingerprint != encoder().fingerprint
