from __future__ import annotations

import io

import pytest
from PIL import Image

from progeo.pixels.thumbnails import make_thumbnail


@pytest.mark.parametrize(
    ("size", "expected"), [((640, 480), (320, 240)), ((100, 400), (80, 320)), ((32, 24), (32, 24))]
)
def test_thumbnails_are_small_jpegs(size: tuple[int, int], expected: tuple[int, int]) -> None:
    image = Image.new("RGB", size, "blue")
    thumbnail = Image.open(io.BytesIO(make_thumbnail(image)))
    assert (thumbnail.format, thumbnail.size, image.size) == ("JPEG", expected, size)
    assert max(Image.open(io.BytesIO(make_thumbnail(image, side=16))).size) == 16
