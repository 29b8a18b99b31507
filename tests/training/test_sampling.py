from __future__ import annotations

import logging
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from progeo.errors import ProgeoError
from progeo.training.groups import Group
from progeo.training.sampling import BatchReader, draw_batches

SETTINGS = {"seed": 0, "epoch": 0}


def make_group(*sizes: int) -> Group:
    """A group whose classes have so many images, in rows 0, 1, 2 …"""
    corners = np.array([[50 * k, 0, 0] for k in range(len(sizes))])
    return Group((0, 0, 0), corners, np.arange(sum(sizes)), np.concatenate([[0], np.cumsum(sizes)]))


@pytest.fixture()
def photos(tmp_path: Path) -> pl.DataFrame:
    """Twelve photos of growing brightness and different sizes, as an image table."""
    paths = []
    for k in range(12):
        path = tmp_path / f"@{k}@0@.png"
        Image.new("RGB", (40 + k, 30), (20 * k, 20 * k, 20 * k)).save(path)
        paths.append(str(path))
    return pl.DataFrame({"path": paths})


def test_classes_come_evenly_and_images_from_their_class() -> None:
    group = make_group(3, 5, 2, 4)
    batches = list(islice(draw_batches(group, batch_size=2, images_per_class=1, **SETTINGS), 200))
    samples = [sample for batch in batches for sample in batch]
    counts = np.bincount([class_index for class_index, _ in samples])
    assert counts.tolist() == [100] * 4
    for class_index, position in samples:
        assert position in group.images_of(class_index)
    assert {position for _, position in samples} == set(range(14))


def test_images_per_class_draws_different_images_where_there_are_enough() -> None:
    group = make_group(6, 2, 6)
    for batch in islice(draw_batches(group, batch_size=8, images_per_class=4, **SETTINGS), 30):
        assert len(batch) == 8
        for start in (0, 4):
            quartet = batch[start : start + 4]
            assert len({class_index for class_index, _ in quartet}) == 1
            assert len({position for _, position in quartet}) == min(4, len(group.images_of(quartet[0][0])))


def test_groups_smaller_than_a_batch_can_be_trained_on() -> None:
    (batch,) = islice(draw_batches(make_group(3, 3), batch_size=8, images_per_class=1, **SETTINGS), 1)
    assert np.bincount([class_index for class_index, _ in batch]).tolist() == [4, 4]


def test_batches_follow_from_seed_and_epoch() -> None:
    group = make_group(*[5] * 10)

    def draw(seed: int, epoch: int) -> list[list[tuple[int, int]]]:
        return list(islice(draw_batches(group, batch_size=4, images_per_class=1, seed=seed, epoch=epoch), 5))

    assert draw(0, 1) == draw(0, 1)
    assert draw(0, 1) != draw(0, 2)
    assert draw(0, 1) != draw(1, 1)


def test_batch_size_must_be_a_multiple() -> None:
    with pytest.raises(ProgeoError, match="`batch_size` 32 is no multiple of `images_per_class` 5: .* `batch_size` 30"):
        next(draw_batches(make_group(5), batch_size=32, images_per_class=5, **SETTINGS))


def test_reads_batches_of_mixed_sizes(photos: pl.DataFrame) -> None:
    reader = BatchReader(photos, image_size=64, max_unreadable_images=0, num_workers=2)
    drawn = [[(0, 0), (1, 11)], [(1, 6)], [(0, 3), (0, 5), (1, 7)]]
    batches = list(reader.read_batches(make_group(6, 6), iter(drawn)))
    assert [len(batch.labels) for batch in batches] == [2, 1, 3]
    first = batches[0]
    assert first.images.shape == (2, 3, 30, 51)
    assert first.sizes.tolist() == [[30, 40], [30, 51]]
    assert first.labels.tolist() == [0, 1]
    assert (first.images[0, :, :, :40] == 0).all()
    assert (first.images[1] == 220).all()


def test_large_images_are_shrunk_to_what_the_crop_needs(photos: pl.DataFrame) -> None:
    reader = BatchReader(photos, image_size=15, max_unreadable_images=0)
    (batch,) = reader.read_batches(make_group(6, 6), iter([[(0, 0)]]))
    assert batch.images.shape == (1, 3, 15, 20)


def test_unreadable_images_are_replaced_by_their_class_and_named(
    photos: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(logging.getLogger("progeo"), "warning", warnings.append)
    Path(photos["path"][5]).write_bytes(b"broken")
    reader = BatchReader(photos, image_size=64, max_unreadable_images=1)
    (batch,) = reader.read_batches(make_group(6, 6), iter([[(0, 5), (0, 5), (1, 6)]]))
    assert [int(image.max()) for image in batch.images] == [0, 0, 120]  # the class's next image, going round
    assert list(reader.unreadable) == [photos["path"][5]]
    assert warnings == [f"Skipped: {reader.unreadable[photos['path'][5]]}"]


def test_too_many_unreadable_images_stop(photos: pl.DataFrame) -> None:
    for k in (0, 1):
        Path(photos["path"][k]).write_bytes(b"broken")
    reader = BatchReader(photos, image_size=64, max_unreadable_images=1)
    with pytest.raises(
        ProgeoError, match="2 training images cannot be read, more than `max_unreadable_images` 1 .*png"
    ):
        list(reader.read_batches(make_group(6, 6), iter([[(0, 0)]])))


def test_class_without_any_readable_image(photos: pl.DataFrame) -> None:
    for k in (0, 1):
        Path(photos["path"][k]).write_bytes(b"broken")
    reader = BatchReader(photos, image_size=64, max_unreadable_images=9)
    with pytest.raises(ProgeoError, match=r"None of the 2 images of the class at \[0, 0, 0\] can be read"):
        list(reader.read_batches(make_group(2, 6), iter([[(0, 0)]])))


def test_colour_modes_and_orientations_are_read_alike(odd_photos: dict[str, Path]) -> None:
    reader = BatchReader(
        pl.DataFrame({"path": [str(path) for path in odd_photos.values()]}), image_size=64, max_unreadable_images=0
    )
    (batch,) = reader.read_batches(make_group(len(odd_photos)), iter([[(0, k) for k in range(len(odd_photos))]]))
    assert batch.sizes.tolist() == [[40, 48]] * len(odd_photos)
    images = dict(zip(odd_photos, batch.images.float(), strict=True))
    for name, image in images.items():
        difference = (image - images["grey" if "grey" in name else "rgb"]).abs().mean()
        assert difference <= (8 if name == "cmyk" else 1), name


def test_padding_keeps_uint8(photos: pl.DataFrame) -> None:
    reader = BatchReader(photos, image_size=64, max_unreadable_images=0)
    (batch,) = reader.read_batches(make_group(12), iter([[(0, 0), (0, 1)]]))
    assert batch.images.dtype == torch.uint8
