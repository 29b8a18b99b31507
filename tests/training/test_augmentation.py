from __future__ import annotations

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from progeo.training.augmentation import (
    Augmentation,
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    crop_and_resize,
    draw_crops,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=seeded())


@pytest.mark.parametrize(
    ("ours", "theirs", "factors"),
    [
        (adjust_brightness, reference.adjust_brightness, (0.3, 0.9, 1.7)),
        (adjust_contrast, reference.adjust_contrast, (0.3, 0.9, 1.7)),
        (adjust_saturation, reference.adjust_saturation, (0.3, 0.9, 1.7)),
        (adjust_hue, reference.adjust_hue, (-0.5, 0.1, 0.37)),
    ],
)
def test_batched_colour_operations_agree_with_torchvision(ours, theirs, factors) -> None:  # type: ignore[no-untyped-def]
    images = random_images(3, 3, 20, 30).float() / 255
    images[0, :, :5] = 0.5  # grey has no hue
    images[1, :, :5] = 0.0
    result = ours(images, torch.tensor(factors).view(-1, 1, 1, 1))
    for image, factor, changed in zip(images, factors, result, strict=True):
        torch.testing.assert_close(changed, theirs(image, factor), atol=2e-5, rtol=1e-4)


def test_every_image_gets_colours_of_its_own_in_range() -> None:
    images = (random_images(1, 3, 8, 8).float() / 255).expand(16, -1, -1, -1)
    result = Augmentation().jitter_colors(images, seeded())
    assert len({tuple(image.flatten().tolist()) for image in result}) == 16
    assert result.min() >= 0
    assert result.max() <= 1


def test_colours_stay_without_jitter() -> None:
    images = random_images(2, 3, 8, 8).float() / 255
    still = Augmentation(brightness=0, contrast=0, saturation=0, hue=0)
    assert torch.equal(still.jitter_colors(images, seeded()), images)


def test_jitter_has_the_spread_of_torchvisions() -> None:
    images = (random_images(1, 3, 6, 6).float() / 255).expand(3000, -1, -1, -1)
    jitter = v2.ColorJitter(0.7, 0.7, 0.7, 0.5)
    torch.manual_seed(0)
    theirs = torch.stack([jitter(image) for image in images[:1500]])
    ours = Augmentation().jitter_colors(images, seeded())
    torch.testing.assert_close(ours.mean(0), theirs.mean(0), atol=0.03, rtol=0)
    torch.testing.assert_close(ours.std(0), theirs.std(0), atol=0.03, rtol=0)


def test_crops_lie_within_the_image_and_cover_the_asked_share() -> None:
    sizes = torch.tensor([[480, 640], [640, 480], [64, 64], [5, 9]]).repeat(200, 1)
    boxes = draw_crops(sizes, 0.5, seeded())
    top, left, height, width = boxes.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= sizes[:, 0]).all()
    assert (left + width <= sizes[:, 1]).all()
    large = sizes[:, 0] > 10
    share = (height * width / sizes.prod(1))[large]
    assert share.min() > 0.48
    assert share.max() < 1.02
    assert share.std() > 0.05
    ratio = (width / height)[large]
    assert ratio.min() > 0.73
    assert ratio.max() < 1.37


def test_crops_of_extreme_shapes_fall_back_to_the_middle() -> None:
    (box,) = draw_crops(torch.tensor([[10, 1000]]), 0.5, seeded()).tolist()
    assert box == [0, 493, 10, 13]


def test_whole_image_is_kept_exactly() -> None:
    images = random_images(2, 3, 32, 32)
    sizes = torch.tensor([[32, 32], [32, 32]])
    boxes = torch.tensor([[0.0, 0, 32, 32]] * 2)
    torch.testing.assert_close(crop_and_resize(images, sizes, boxes, 32), images.float() / 255)


def test_crop_agrees_with_torchvision_and_never_reads_the_padding() -> None:
    image = random_images(1, 3, 20, 24)
    padded = torch.full((1, 3, 40, 50), 255, dtype=torch.uint8)
    padded[:, :, :20, :24] = image
    box = torch.tensor([[3.0, 4, 17, 20]])
    ours = crop_and_resize(padded, torch.tensor([[20, 24]]), box, 48)
    theirs = reference.resized_crop(image.float() / 255, 3, 4, 17, 20, [48, 48], antialias=False)
    # Inside the crop both are the same; at its border torchvision repeats the last pixel of the crop, ours still sees
    # the photo beyond it.
    torch.testing.assert_close(ours[..., 3:-3, 3:-3], theirs[..., 3:-3, 3:-3], atol=1e-4, rtol=0)
    black = torch.where(padded == 255, 255, 0).to(torch.uint8)
    black[:, :, :20, :24] = 0
    assert crop_and_resize(black, torch.tensor([[20, 24]]), box, 48).max() == 0


def test_same_generator_state_same_batch() -> None:
    images, sizes = random_images(4, 3, 40, 50), torch.tensor([[40, 50], [40, 50], [30, 20], [7, 9]])
    augment = Augmentation(image_size=16)
    first, second = augment(images, sizes, seeded(3)), augment(images, sizes, seeded(3))
    assert first.shape == (4, 3, 16, 16)
    assert torch.equal(first, second)
    assert not torch.equal(first, augment(images, sizes, seeded(4)))


def test_published_order_changes_the_colours_of_the_whole_photo_first() -> None:
    image = random_images(1, 3, 20, 24)
    image[:, :, :, 12:] //= 8  # so that contrast's mean is not that of a crop
    frame = torch.zeros(1, 3, 40, 50, dtype=torch.uint8)
    frame[:, :, :20, :24] = image
    sizes = torch.tensor([[20, 24]])
    augment = Augmentation(image_size=16, order="published")
    generator = seeded(5)
    boxes = draw_crops(sizes, 0.5, generator)
    colored = augment.jitter_colors(image.float() / 255, generator)
    expected = crop_and_resize(colored, sizes, boxes, 16)
    torch.testing.assert_close(augment(frame, sizes, seeded(5)), expected, atol=1e-5, rtol=0)
    assert not torch.allclose(Augmentation(image_size=16)(frame, sizes, seeded(5)), expected, atol=1e-2)
