from __future__ import annotations

import io
import struct
import zlib

import pytest
from fastapi import HTTPException
from PIL import Image

from progeo.pixels.formats import can_open_heic
from progeo.serve.uploads import read_upload

from .conftest import make_photo


def read(content: bytes, *, max_pixels: int = 1_000_000, image_size: int = 64) -> tuple[int, ...]:
    return tuple(read_upload(io.BytesIO(content), "photo.jpg", max_pixels=max_pixels, image_size=image_size).shape)


def refusal_of(content: bytes, **settings: int) -> tuple[int, str]:
    with pytest.raises(HTTPException) as refused:
        read(content, **settings)
    return refused.value.status_code, refused.value.detail


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_photos_are_read_whatever_they_are_called(format: str) -> None:
    assert read(make_photo((200, 30, 30), format=format)) == (3, 32, 48)


def test_photos_of_iphones_are_read() -> None:
    can_open_heic()
    content = make_photo((200, 30, 30), format="HEIF")
    assert content[4:12] == b"ftypheic"
    assert read(content) == (3, 32, 48)


def test_photos_are_turned_upright_and_no_larger_than_the_model_needs() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    photo = make_photo((200, 30, 30), (400, 200), format="JPEG", exif=exif)
    assert read(photo, image_size=400) == (3, 400, 200)
    assert read(photo, image_size=50) == (3, 200, 100)


@pytest.mark.parametrize(
    "content", [b"", b"not a photo at all", b"%!PS-Adobe-3.0 EPSF-3.0\n", make_photo((1, 2, 3), format="BMP")]
)
def test_content_that_is_no_photo(content: bytes) -> None:
    status, detail = refusal_of(content)
    assert status == 415
    assert detail.startswith("photo.jpg is not a photo of a kind that can be read (JPEG, PNG, WEBP")


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
    assert refusal_of(bomb(100_000, 100_000)) == (413, "photo.jpg has too many pixels.")


def test_damaged_photos() -> None:
    status, detail = refusal_of(make_photo((200, 30, 30), (200, 200), format="JPEG")[:800])
    assert status == 422
    assert detail.startswith("The image photo.jpg cannot be read, it may be damaged: ")
