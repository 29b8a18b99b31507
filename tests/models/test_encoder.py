"""Photos to descriptors: any size, order and colour mode, batched by size, resized where asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from progeo.errors import ProgeoError
from progeo.models.encoder import extract_descriptors
from progeo.models.network import create_network
from progeo.pixels.recipe import Preprocessing


class QuarterColours:
    """Describes an image by its height, its width and the mean colours of its quarters, and counts its batches."""

    fc_output_dim = 14

    def __init__(self, image_size: int = 30) -> None:
        self.preprocessing = Preprocessing(image_size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        self.batches: list[int] = []

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(images))
        size = torch.tensor(images.shape[2:]).expand(len(images), 2)
        return torch.cat([size, torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)], dim=1)


def write_noise(folder: Path, sizes: list[tuple[int, int]]) -> list[str]:
    """Write an image of noise in each size (width, height)."""
    generator = np.random.default_rng(0)
    paths = []
    for number, (width, height) in enumerate(sizes):
        paths.append(str(folder / f"{number}.png"))
        Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(paths[-1])
    return paths


def test_mixed_sizes_come_back_in_order_as_one_by_one(tmp_path: Path) -> None:
    # More different sizes than wait for their batch to fill, and two sizes that fill several.
    sizes = [(20, 14), (14, 20)] * 4 + [(8 + k, 50 - k) for k in range(40)] + [(20, 14)]
    paths = write_noise(tmp_path, sizes)
    network = QuarterColours()
    together = extract_descriptors(network, paths, batch_size=2, num_workers=2)
    assert together.dtype == np.float32
    assert together[:, :2].tolist() == [[height, width] for width, height in sizes]
    assert max(network.batches) == 2
    np.testing.assert_allclose(
        together, np.concatenate([extract_descriptors(network, [path]) for path in paths]), rtol=1e-6
    )


def test_photos_of_one_size_share_a_batch(tmp_path: Path) -> None:
    network = QuarterColours()
    extract_descriptors(network, write_noise(tmp_path, [(20, 14), (14, 20)] * 4), batch_size=4)
    assert network.batches == [4, 4]


def test_a_network_describes_batches_as_single_photos(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = create_network("timm:test_resnet", 16, weights="none").eval()
    paths = write_noise(tmp_path, [(48, 40), (40, 48), (48, 40), (64, 64), (48, 40)])
    together = extract_descriptors(network, paths, batch_size=3)
    one_by_one = np.concatenate([extract_descriptors(network, [path]) for path in paths])
    np.testing.assert_allclose(together, one_by_one, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    assert np.abs(together[0] - together[2]).max() > 1e-3


@pytest.mark.parametrize(("size", "resized"), [((120, 90), (40, 30)), ((45, 120), (30, 80)), ((12, 10), (36, 30))])
def test_resized_to_the_models_shorter_side(tmp_path: Path, size: tuple[int, int], resized: tuple[int, int]) -> None:
    (path,) = write_noise(tmp_path, [size])
    (native,) = extract_descriptors(QuarterColours(30), [path])
    (descriptor,) = extract_descriptors(QuarterColours(30), [path], resize=True)
    assert native[:2].tolist() == [size[1], size[0]]
    assert descriptor[:2].tolist() == [resized[1], resized[0]]
    Image.open(path).resize(resized, Image.Resampling.BILINEAR).save(tmp_path / "resized.png")
    (expected,) = extract_descriptors(QuarterColours(30), [str(tmp_path / "resized.png")])
    np.testing.assert_allclose(descriptor, expected, atol=0.005)


def test_colour_modes_and_orientations_are_described_alike(odd_photos: dict[str, Path]) -> None:
    described = extract_descriptors(QuarterColours(), [str(path) for path in odd_photos.values()])
    for name, descriptor in zip(odd_photos, described, strict=True):
        grey = "grey" in name
        expected = described[list(odd_photos).index("grey" if grey else "rgb")]
        assert np.abs(descriptor - expected).max() <= (0.03 if name == "cmyk" else 0.003), name


def test_no_photos() -> None:
    assert extract_descriptors(QuarterColours(), []).shape == (0, 14)


def test_photo_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    paths = write_noise(tmp_path, [(20, 14)] * 3)
    Path(paths[1]).write_bytes(b"broken")
    with pytest.raises(ProgeoError, match=r"The image .*/1\.png cannot be read"):
        extract_descriptors(QuarterColours(), paths)
