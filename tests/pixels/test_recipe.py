"""The reading recipe: one photo gives one descriptor, wherever it comes from; and nothing too large is decoded."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
import warnings
import zlib
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from progeo.errors import ProgeoError
from progeo.models.building import create_model
from progeo.pixels import decoding
from progeo.pixels.decoding import NotAPhotoError, TooLargeError
from progeo.pixels.recipe import Preprocessing, list_sources, open_photo, read_pixels, to_pixels


def make_scene(width: int, height: int) -> Image.Image:
    """A picture with structure at every scale."""
    generator = np.random.default_rng(0)
    scene = np.zeros((height, width, 3))
    for cells in (3, 8, 30):
        noise = Image.fromarray(generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        scene += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC), dtype=float) / 3
    return Image.fromarray(scene.clip(0, 255).astype(np.uint8))


def make_sources(path: Path) -> dict[str, Any]:
    """The photo at ``path`` as everything that it may come as."""
    with Image.open(path) as image:
        array = np.asarray(image.convert("RGB"))
    return {
        "path": path,
        "text": str(path),
        "bytes": path.read_bytes(),
        "file": io.BytesIO(path.read_bytes()),
        "image": Image.open(path),
        "array": array,
        "floats": array.astype(np.float32) / 255,
        "tensor": torch.from_numpy(array.copy()).permute(2, 0, 1),
        "float tensor": torch.from_numpy(array.copy()).permute(2, 0, 1) / 255,
    }


@pytest.mark.parametrize(
    ("name", "size", "settings"),
    [
        ("photo.png", (160, 120), {}),
        ("photo.jpg", (160, 120), {"quality": 95}),
        ("photo.webp", (90, 200), {"quality": 90}),
        ("large.jpg", (1500, 1000), {"quality": 95}),  # decoded at 1/2
    ],
)
def test_one_photo_has_one_descriptor(
    name: str, size: tuple[int, int], settings: dict[str, Any], tmp_path: Path
) -> None:
    make_scene(*size).save(tmp_path / name, **settings)
    network = create_model("ResNet18", descriptor_dim=64, weights="none").eval()
    network.preprocessing = Preprocessing(image_size=96)
    sources = make_sources(tmp_path / name)
    descriptors = dict(zip(sources, network.encode(list(sources.values())), strict=True))
    for one, other in combinations(sources, 2):
        assert descriptors[one] @ descriptors[other] >= 0.999, (one, other)
        if name != "large.jpg":
            np.testing.assert_allclose(descriptors[one], descriptors[other], atol=1e-3, err_msg=f"{one}, {other}")


def test_what_is_decoded_reduced_keeps_enough_pixels(tmp_path: Path) -> None:
    make_scene(3000, 2000).save(tmp_path / "large.jpg")
    assert min(open_photo(tmp_path / "large.jpg", Preprocessing(224)).size) == 500
    assert min(open_photo(tmp_path / "large.jpg", Preprocessing(20)).size) == 500  # thumbnails want 320
    assert min(open_photo(tmp_path / "large.jpg", Preprocessing(512)).size) == 2000
    assert min(open_photo(tmp_path / "large.jpg", Preprocessing(native=True)).size) == 2000


@pytest.mark.parametrize(
    ("preprocessing", "expected"),
    [
        (Preprocessing(32), (32, 64)),
        (Preprocessing(150), (150, 301)),
        (Preprocessing(32, square=True), (32, 32)),
        (Preprocessing(32, native=True), (100, 201)),
        (Preprocessing(32, native=True, native_limit=50), (50, 100)),
        (Preprocessing(32, native=True, native_limit=500), (100, 201)),
    ],
)
def test_sizes(preprocessing: Preprocessing, expected: tuple[int, int]) -> None:
    assert read_pixels(np.zeros((100, 201), np.uint8), preprocessing).shape == (*expected, 3)
    assert read_pixels(np.zeros((201, 100), np.uint8), preprocessing).shape == (*expected[::-1], 3)


def test_sizes_and_pixels_are_those_of_torchvision() -> None:
    from torchvision.transforms.v2 import InterpolationMode, functional

    scene = make_scene(157, 101)
    for interpolation in ("bilinear", "bicubic"):
        pixels = to_pixels(scene, Preprocessing(64, interpolation=interpolation)).astype(int)
        tensor = torch.from_numpy(np.array(scene)).permute(2, 0, 1)
        expected = functional.resize(tensor, [64], InterpolationMode(interpolation), antialias=True)
        assert np.abs(pixels - expected.permute(1, 2, 0).numpy()).max() <= 1


def test_only_what_can_be_is_a_preprocessing() -> None:
    for settings, message in (
        ({"image_size": 0}, "`image_size` must be a whole number"),
        ({"interpolation": "nearest"}, "`interpolation` is bilinear or bicubic, not 'nearest'"),
        ({"std": (0.0, 1.0, 1.0)}, "`mean` and `std` are three numbers each"),
        ({"square": True, "native": True}, "512 x 512 pixels only"),
    ):
        with pytest.raises(ProgeoError, match=message):
            Preprocessing(**settings)
    plain = Preprocessing(32, native=True, native_limit=7).to_dict()
    assert Preprocessing.from_dict(plain) == Preprocessing(32, native=True, native_limit=7)
    assert "native" not in Preprocessing().to_dict()


def write_png_header(path: Path, width: int, height: int) -> Path:
    """Write a file of a few hundred bytes that says to be an image of this size."""
    header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    rows = b"IDAT" + zlib.compress(bytes(1000))
    chunks = [len(c[4:]).to_bytes(4, "big") + c + zlib.crc32(c).to_bytes(4, "big") for c in (header, rows)]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((1, 65_535), "1 x 65535 pixels, one side more than 500 times"),
        ((1_000_000, 1), "1000000 x 1 pixels, one side more than 500 times"),
        ((100_000, 90_000), "too large: 100000 x 90000 pixels, more than 268 megapixels"),
        ((16_000, 16_000), "16000 x 16000 pixels, more than the 180 megapixels that can be decoded"),
        ((50, 20_000), "would have 512 x 204800 pixels at the model's size"),
    ],
)
def test_too_large_photos_are_refused_at_once(size: tuple[int, int], message: str, tmp_path: Path) -> None:
    path = write_png_header(tmp_path / "bomb.png", *size)
    start = time.perf_counter()
    with pytest.raises(TooLargeError, match=message):
        read_pixels(path, Preprocessing(512))
    assert time.perf_counter() - start < 1


def test_arrays_and_images_have_the_same_limits() -> None:
    for thread in (np.zeros((65_535, 1), np.uint8), Image.new("L", (1, 65_535)), torch.zeros(3, 1, 65_535)):
        with pytest.raises(TooLargeError, match="more than 500 times"):
            read_pixels(thread, Preprocessing())


def test_a_jpeg_of_two_hundred_megapixels_is_read_small_and_without_a_warning(tmp_path: Path) -> None:
    Image.new("L", (16_320, 12_240), 128).save(tmp_path / "phone.jpg", quality=50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = Image.MAX_IMAGE_PIXELS
        assert read_pixels(tmp_path / "phone.jpg", Preprocessing(224)).shape == (224, 298, 3)
        assert before == Image.MAX_IMAGE_PIXELS
    with pytest.raises(TooLargeError, match="180 megapixels"):
        read_pixels(tmp_path / "phone.jpg", Preprocessing(native=True))


def test_what_is_no_photo(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    os.mkfifo(tmp_path / "pipe.jpg")
    for source, message in (
        (tmp_path / "text.jpg", "text.jpg cannot be read.*none of JPEG, PNG"),
        (tmp_path / "pipe.jpg", "pipe.jpg cannot be read: it is no regular file"),
        (tmp_path, "is no regular file"),
        (b"hello", "given as bytes cannot be read"),
        (np.zeros((3, 20, 20), np.uint8), r"has the shape \(3, 20, 20\) instead of \(H, W, 3\)"),
        (torch.zeros(20, 20, 3), r"has the shape \(20, 20, 3\) instead of \(3, H, W\)"),
        (np.full((20, 20), 255.0), r"values from 255 to 255; floats must be in \[0, 1\]"),
        (np.full((20, 20), np.nan), "floats must be in"),
        (np.zeros((20, 20), np.int64), "is int64; it must be uint8"),
        (np.zeros((0, 20), np.uint8), r"has no pixels \(20 x 0\)"),
        (7, "given as int is no photo"),
    ):
        with pytest.raises(NotAPhotoError, match=message):
            read_pixels(source, Preprocessing(8))  # type: ignore[arg-type]
    with pytest.raises(NotAPhotoError, match="holiday cannot be read"):
        read_pixels(b"hello", Preprocessing(), name="holiday")


def test_heic_is_known_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    make_scene(64, 48).save(tmp_path / "photo.heic", quality=95)
    (tmp_path / "phone.jpg").write_bytes((tmp_path / "photo.heic").read_bytes())
    make_scene(64, 48).save(tmp_path / "whole.jpg", quality=95)
    (tmp_path / "jpeg.heic").write_bytes((tmp_path / "whole.jpg").read_bytes())
    assert read_pixels(tmp_path / "phone.jpg", Preprocessing(48)).shape == (48, 64, 3)
    monkeypatch.setattr(decoding, "can_open_heic", lambda: False)
    monkeypatch.delitem(Image.OPEN, "HEIF")
    assert read_pixels(tmp_path / "jpeg.heic", Preprocessing(48)).shape == (48, 64, 3)
    with pytest.raises(ProgeoError, match=r'pip install .*\[heic\]"'):
        read_pixels(tmp_path / "phone.jpg", Preprocessing(48))


def test_formats_are_named_alike_before_and_after_the_first_heic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pillow_heif")
    assert decoding.can_open_heic()
    make_scene(64, 48).save(tmp_path / "photo.heic")
    monkeypatch.delitem(Image.OPEN, "HEIF")
    decoding.can_open_heic.cache_clear()
    messages = []
    for _ in range(2):
        with pytest.raises(NotAPhotoError, match="none of JPEG, .*, HEIF, .*TGA") as caught:
            read_pixels(b"hello", Preprocessing())
        messages.append(str(caught.value))
        read_pixels(tmp_path / "photo.heic", Preprocessing(48))
    assert messages[0] == messages[1]


def test_reading_needs_no_torch() -> None:
    code = (
        "import sys, numpy as np; from progeo.models import Encoder, ModelSpec; from progeo.pixels import recipe, "
        "prefetch, thumbnails; recipe.read_pixels(np.zeros((9, 9), np.uint8), recipe.Preprocessing(4)); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_one_photo_is_told_from_several(tmp_path: Path) -> None:
    array = np.zeros((4, 4, 3), np.uint8)
    for one in ("a.jpg", tmp_path, b"content", io.BytesIO(), Image.fromarray(array), array, array[..., 0]):
        assert list_sources(one)[0] is one
        assert len(list_sources([one, one])) == 2
    assert len(list_sources(np.stack([array, array]))) == 2
    assert list_sources(name for name in ("a.jpg", "b.jpg")) == ["a.jpg", "b.jpg"]
