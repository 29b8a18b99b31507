from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from progeo.errors import ProgeoError
from progeo.pixels.decoding import can_open_heic
from progeo.pixels.recipe import Preprocessing, read_pixels
from progeo.serve.answers import refuse_content
from progeo.serve.decoder import read_upload

from .conftest import make_photo


def read(content: bytes, *, max_pixels: int = 1_000_000, image_size: int = 32) -> tuple[int, ...]:
    pixels = read_upload(io.BytesIO(content), "photo.jpg", Preprocessing(image_size), max_pixels=max_pixels)
    assert pixels.dtype == np.uint8
    return pixels.shape


def refusal_of(content: bytes, **settings: int) -> tuple[int, str]:
    with pytest.raises(ProgeoError) as error:
        read(content, **settings)
    refused = refuse_content(error.value)
    return refused.status_code, refused.detail


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_photos_are_read_whatever_they_are_called(format: str) -> None:
    assert read(make_photo((200, 30, 30), format=format)) == (32, 48, 3)


def test_photos_of_iphones_are_read() -> None:
    can_open_heic()
    content = make_photo((200, 30, 30), format="HEIF")
    assert content[4:12] == b"ftypheic"
    assert read(content) == (32, 48, 3)


def test_photos_are_turned_upright_and_no_larger_than_the_model_needs() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    photo = make_photo((200, 30, 30), (400, 200), format="JPEG", exif=exif)
    assert read(photo, image_size=200) == (400, 200, 3)
    assert read(photo, image_size=50) == (100, 50, 3)


def test_pixels_are_those_that_every_entrance_reads() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8))
    content = io.BytesIO()
    noise.save(content, format="JPEG")
    preprocessing = Preprocessing(image_size=64)
    uploaded = read_upload(io.BytesIO(content.getvalue()), "photo.jpg", preprocessing, max_pixels=10**7)
    assert np.array_equal(uploaded, read_pixels(content.getvalue(), preprocessing))


@pytest.mark.parametrize(
    "content", [b"", b"not a photo at all", b"%!PS-Adobe-3.0 EPSF-3.0\n", make_photo((1, 2, 3), format="BMP")]
)
def test_content_that_is_no_photo(content: bytes) -> None:
    status, detail = refusal_of(content)
    assert status == 415
    assert "photo.jpg" in detail and "JPEG, PNG, WEBP" in detail


def test_decompression_bombs_are_not_decoded() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def bomb(width: int, height: int) -> bytes:
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")

    assert refusal_of(bomb(10_000, 10_000), max_pixels=64_000_000) == (
        413,
        "photo.jpg has 10000 x 10000 pixels, more than 64 megapixels.",
    )
    status, detail = refusal_of(bomb(100_000, 100_000))
    assert status == 413
    assert "photo.jpg" in detail and "100000 x 100000 pixels" in detail
    assert refusal_of(bomb(1, 60_000))[0] == 413  # scaled to the model's size it would have millions


def test_photos_of_extreme_shape_are_refused_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a model would need gigabytes for: 2,000 x 60 pixels become 17,066 x 512."""
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: pytest.fail("decoded"))
    for size in ((2000, 60), (60, 2000), (1, 400), (3, 900)):
        status, detail = refusal_of(make_photo((200, 30, 30), size))
        assert status == 413
        assert (
            f"photo.jpg has {size[0]} x {size[1]} pixels" in detail
            and "12 times as long" in detail
            and "Crop" in detail
        )


def test_panoramas_are_photos() -> None:
    assert read(make_photo((200, 30, 30), (800, 100))) == (32, 256, 3)


def test_damaged_photos() -> None:
    status, detail = refusal_of(make_photo((200, 30, 30), (200, 200), format="JPEG")[:800])
    assert status == 422
    assert detail.startswith("The image photo.jpg cannot be read, it may be damaged: ")
