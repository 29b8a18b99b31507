from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from progeo.errors import ProgeoError
from progeo.pixels import decoding
from progeo.pixels.decoding import TooLargeError
from progeo.pixels.recipe import Preprocessing, read_pixels


@pytest.fixture()
def scene() -> Image.Image:
    """A smooth picture, left dark and right bright, reddish above and bluish below, 64 x 48."""
    x, y = np.meshgrid(np.linspace(0, 1, 64), np.linspace(0, 1, 48))
    return Image.fromarray((np.stack([x * (1 - y), x * 0.5, x * y], axis=2) * 255).astype(np.uint8))


def read_image(path: Path, shorter_side: int | None = None) -> torch.Tensor:
    """The photo as an uint8 tensor (3, H, W), at its own size or shrunk to a shorter side."""
    pixels = read_pixels(path, Preprocessing(native=True, native_limit=shorter_side))
    return torch.from_numpy(pixels).permute(2, 0, 1)


def expected(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.jpg", "a.JPEG"])
def test_formats(tmp_path: Path, scene: Image.Image, name: str) -> None:
    scene.save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {"quality": 95}))
    pixels = read_image(tmp_path / name)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (3, 48, 64)
    assert (pixels.int() - expected(scene).int()).abs().max() <= (0 if name.endswith(("png", "webp")) else 12)


def test_grey_is_three_equal_channels(tmp_path: Path, scene: Image.Image) -> None:
    scene.convert("L").save(tmp_path / "grey.png")
    pixels = read_image(tmp_path / "grey.png")
    assert (pixels == pixels[:1]).all()
    assert pixels.float().std() > 10


def test_sixteen_bit_grey_keeps_its_brightness(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    assert (read_image(tmp_path / "deep.png").float() - torch.from_numpy(ramp / 257.0)).abs().max() <= 1


def test_palette_and_transparency(tmp_path: Path, scene: Image.Image) -> None:
    scene.quantize(256).save(tmp_path / "palette.png")
    assert (read_image(tmp_path / "palette.png").float() - expected(scene)).abs().mean() < 8
    transparent = scene.convert("RGBA")
    transparent.putalpha(Image.fromarray(np.repeat([[0] * 32 + [255] * 32], 48, axis=0).astype(np.uint8)))
    transparent.save(tmp_path / "alpha.png")
    pixels = read_image(tmp_path / "alpha.png")
    assert (pixels[:, :, :32] == 255).all()
    assert torch.equal(pixels[:, :, 32:], expected(scene)[:, :, 32:])


def test_cmyk(tmp_path: Path, scene: Image.Image) -> None:
    scene.convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    assert (read_image(tmp_path / "print.jpg").float() - expected(scene)).abs().mean() < 8


@pytest.mark.parametrize("shorter_side", [None, 24])
def test_exif_orientation_is_applied(tmp_path: Path, scene: Image.Image, shorter_side: int | None) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    scene.save(tmp_path / "phone.jpg", exif=exif, quality=95)
    pixels = read_image(tmp_path / "phone.jpg", shorter_side)
    assert pixels.shape == ((3, 64, 48) if shorter_side is None else (3, 32, 24))
    assert pixels[:, :8].float().mean() < pixels[:, -8:].float().mean()  # the dark left side is now above


@pytest.mark.parametrize(
    ("size", "shape"), [((640, 480), (3, 96, 128)), ((480, 640), (3, 128, 96)), ((64, 48), (3, 48, 64))]
)
@pytest.mark.parametrize("extension", ["jpg", "png"])
def test_shrinks_large_images_only(
    tmp_path: Path, scene: Image.Image, size: tuple[int, int], shape: tuple[int, int, int], extension: str
) -> None:
    path = tmp_path / f"a.{extension}"
    large = scene.resize(size, Image.Resampling.BICUBIC)
    large.save(path)
    pixels = read_image(path, shorter_side=96)
    assert pixels.shape == shape
    wanted = large.resize((shape[2], shape[1]), Image.Resampling.BILINEAR)
    assert (pixels.float() - expected(wanted)).abs().mean() < 2


def test_very_thin_image_keeps_a_pixel(tmp_path: Path) -> None:
    Image.new("RGB", (1000, 2)).save(tmp_path / "thin.png")
    assert read_image(tmp_path / "thin.png", shorter_side=1).shape == (3, 1, 500)


def test_damaged_images_are_named(tmp_path: Path, scene: Image.Image) -> None:
    scene.save(tmp_path / "whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    damaged = {
        "truncated.jpg": content[: len(content) // 2],
        "empty.jpg": b"",
        "text.jpg": b"hello",
        "a.png": b"\x89PNG",
    }
    for name, data in damaged.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ProgeoError, match=f"image .*{name} cannot be read"):
            read_image(tmp_path / name)


def test_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProgeoError, match=r"There is no image .*gone\.jpg"):
        read_image(tmp_path / "gone.jpg")


def test_lack_of_memory_is_no_damage(tmp_path: Path, scene: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    scene.save(tmp_path / "a.png")
    monkeypatch.setattr(decoding, "_to_rgb", exhausted)
    with pytest.raises(MemoryError):
        read_image(tmp_path / "a.png")


def test_too_many_pixels(tmp_path: Path, scene: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.save(tmp_path / "huge.png")
    monkeypatch.setattr(decoding, "MAX_PIXELS", 1000)
    with pytest.raises(TooLargeError, match=r"huge\.png is too large"):
        read_image(tmp_path / "huge.png")
