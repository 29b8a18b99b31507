"""Training augmentation, batched on the device: colour jitter and random resized crops, different for every image.

The published code changes colours image by image on the host; here every operation is one tensor expression over the
batch. All random numbers are drawn on the CPU from a generator that is given, so that a batch is augmented alike on
every device and after every resume. The colour operations are those of torchvision's ColorJitter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from progeo.devices import channel_constant, copy_to

GREY_WEIGHTS = (0.2989, 0.587, 0.114)  # ITU-R BT.601 luma, as torchvision rounds them
CROP_RATIOS = (3 / 4, 4 / 3)  # width to height, as torchvision's RandomResizedCrop
CROP_ATTEMPTS = 10

Share = tuple[int, int]
"""Which of how many equal shares of a batch."""
WHOLE: Share = (0, 1)


@dataclass(frozen=True)
class Augmentation:
    """Random colours and crops.

    Attributes:
        image_size: side of the square result in pixels.
        brightness, contrast, saturation: factors are drawn from [max(0, 1 - value), 1 + value].
        hue: the shift is drawn from [-hue, hue] turns of the colour wheel, at most 0.5.
        random_resized_crop: the crop's share of the area is drawn from [1 - value, 1].
        order: ``fast`` crops first; ``published`` changes the colours of the whole photo first.
    """

    image_size: int = 512
    brightness: float = 0.7
    contrast: float = 0.7
    saturation: float = 0.7
    hue: float = 0.5
    random_resized_crop: float = 0.5
    order: str = "fast"

    def __call__(
        self, images: torch.Tensor, sizes: torch.Tensor, generator: torch.Generator, share: Share = WHOLE
    ) -> torch.Tensor:
        """Augment a batch, or a share of one as the whole batch would be.

        Args:
            images: uint8 (B, 3, H, W) on any device; each image fills the upper left corner, the rest is padding.
            sizes: int64 (B, 2) on the CPU, height and width of each image in its padded frame.
            generator: CPU generator that all random numbers are drawn from.
            share: which of how many equal shares of a batch these images are.

        Returns:
            float (B, 3, image_size, image_size) in [0, 1] on the device of ``images``.
        """
        boxes = draw_crops(sizes, self.random_resized_crop, generator, share)
        if self.order == "published":
            colored = self.jitter_colors(_to_float(images), generator, sizes.prod(dim=1), share=share)
            return crop_and_resize(colored, sizes, boxes, self.image_size)
        # Cropped first, the colours are changed on image_size pixels, whatever the size of the photo. Contrast takes
        # its mean over the crop instead of the whole photo, all else commutes.
        cropped = crop_and_resize(images, sizes, boxes, self.image_size)
        return self.jitter_colors(cropped, generator, share=share)

    def jitter_colors(
        self,
        images: torch.Tensor,
        generator: torch.Generator,
        pixels: torch.Tensor | None = None,
        share: Share = WHOLE,
    ) -> torch.Tensor:
        """Change brightness, contrast, saturation and hue, each image with factors and an order of its own.

        Args:
            images: float (B, 3, H, W) in [0, 1].
            generator: CPU generator.
            pixels: int64 (B,) on the CPU, how many pixels of each image are not padding, which is black; None is all.
            share: which of how many equal shares of a batch these images are.
        """
        count = len(images)
        strengths = (self.brightness, self.contrast, self.saturation, self.hue)
        lows = [max(0.0, 1 - value) for value in strengths[:3]] + [-self.hue]
        highs = [1 + value for value in strengths[:3]] + [self.hue]
        low, high = torch.tensor(lows), torch.tensor(highs)
        factors = copy_to(low + (high - low) * _draw(count, 4, generator=generator, share=share), images.device)
        orders = _draw(count, 4, generator=generator, share=share).argsort(dim=1)
        operations = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)
        frame = images.shape[2] * images.shape[3]
        shares = torch.ones(count) if pixels is None else pixels / frame
        shares = copy_to(shares.view(-1, 1, 1, 1), images.device)
        for position in range(4):
            for index, operation in enumerate(operations):
                if strengths[index] == 0:
                    continue
                rows = copy_to((orders[:, position] == index).nonzero().squeeze(1), images.device)
                if len(rows):
                    arguments = images.index_select(0, rows), factors[rows, index].view(-1, 1, 1, 1)
                    further = (shares[rows],) if operation is adjust_contrast else ()
                    changed = operation(*arguments, *further)
                    images = images.index_copy(0, rows, changed)
        return images


def adjust_brightness(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Multiply images (B, 3, H, W) in [0, 1] by factors (B, 1, 1, 1)."""
    return (images * factors).clamp(0, 1)


def adjust_contrast(images: torch.Tensor, factors: torch.Tensor, shares: torch.Tensor | float = 1.0) -> torch.Tensor:
    """Blend images (B, 3, H, W) in [0, 1] with their mean grey by factors (B, 1, 1, 1).

    ``shares`` (B, 1, 1, 1) of each are the image, the rest black padding, which does not count.
    """
    mean = _grey(images).mean(dim=(1, 2, 3), keepdim=True) / shares
    return (factors * images + (1 - factors) * mean).clamp(0, 1)


def adjust_saturation(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Blend images (B, 3, H, W) in [0, 1] with their grey version by factors (B, 1, 1, 1)."""
    return (factors * images + (1 - factors) * _grey(images)).clamp(0, 1)


def adjust_hue(images: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """Turn the hue of images (B, 3, H, W) in [0, 1] by shifts (B, 1, 1, 1), in turns of the colour wheel."""
    brightest, darkest = images.amax(dim=1), images.amin(dim=1)
    chroma = brightest - darkest
    safe_chroma = torch.where(chroma == 0, 1.0, chroma)
    red, green, blue = images.unbind(dim=1)
    sector = torch.where(
        brightest == red,
        (green - blue) / safe_chroma,
        torch.where(brightest == green, 2 + (blue - red) / safe_chroma, 4 + (red - green) / safe_chroma),
    )
    sector = sector + 6 * shifts.squeeze(1)
    # Each channel of a colour of this hue is value - chroma * clamp(min(k, 4 - k), 0, 1), k = (offset + sector) mod 6:
    # Smith, "Color gamut transform pairs", SIGGRAPH 1978, in its branch-free form.
    offsets = channel_constant((5.0, 3.0, 1.0), images.dtype, images.device)
    k = (offsets + sector.unsqueeze(1)) % 6
    return brightest.unsqueeze(1) - chroma.unsqueeze(1) * torch.minimum(k, 4 - k).clamp(0, 1)


def draw_crops(sizes: torch.Tensor, strength: float, generator: torch.Generator, share: Share = WHOLE) -> torch.Tensor:
    """Draw a crop for each image: a share of the area in [1 - strength, 1], aspect ratio in [3/4, 4/3], any place.

    As torchvision's RandomResizedCrop, the first of ten draws that fits is taken, and the middle of the image at the
    nearest allowed aspect ratio where none does.

    Args:
        sizes: int64 (B, 2), heights and widths in pixels.
        strength: 0 keeps the whole area.
        generator: CPU generator.
        share: which of how many equal shares of a batch these images are.

    Returns:
        float (B, 4): top, left, height and width in pixels, within the image.
    """
    count = len(sizes)
    heights, widths = sizes[:, :1].double(), sizes[:, 1:].double()
    random = _draw(count, CROP_ATTEMPTS, 4, generator=generator, share=share, dtype=torch.float64)
    area = heights * widths * (1 - strength * random[..., 0])
    low, high = math.log(CROP_RATIOS[0]), math.log(CROP_RATIOS[1])
    ratio = torch.exp(low + (high - low) * random[..., 1])
    crop_heights, crop_widths = (area / ratio).sqrt().round(), (area * ratio).sqrt().round()
    fits = (crop_heights > 0) & (crop_heights <= heights) & (crop_widths > 0) & (crop_widths <= widths)
    tops = (random[..., 2] * (heights - crop_heights + 1)).floor()
    lefts = (random[..., 3] * (widths - crop_widths + 1)).floor()

    middle_heights = torch.minimum(heights, (widths / CROP_RATIOS[0]).round())
    middle_widths = torch.minimum(widths, (heights * CROP_RATIOS[1]).round())
    middle = torch.cat(
        [
            ((heights - middle_heights) / 2).floor(),
            ((widths - middle_widths) / 2).floor(),
            middle_heights,
            middle_widths,
        ],
        dim=1,
    )
    drawn = torch.stack([tops, lefts, crop_heights, crop_widths], dim=2)
    first = fits.int().argmax(dim=1)
    chosen = drawn[torch.arange(count), first]
    return torch.where(fits.any(dim=1, keepdim=True), chosen, middle).float()


def crop_and_resize(images: torch.Tensor, sizes: torch.Tensor, boxes: torch.Tensor, side: int) -> torch.Tensor:
    """Cut a box out of each image and bring it to ``side`` x ``side`` pixels, bilinear, never reading the padding.

    Args:
        images: (B, 3, H, W), uint8 or float in [0, 1], each image in the upper left corner of its frame.
        sizes: int64 (B, 2) on the CPU, height and width of each image.
        boxes: float (B, 4) on the CPU, top, left, height and width in pixels.
        side: height and width of the result.

    Returns:
        float (B, 3, side, side) in [0, 1].
    """
    frame_height, frame_width = images.shape[-2:]
    steps = (torch.arange(side) + 0.5) / side
    rows = (boxes[:, :1] + boxes[:, 2:3] * steps).clamp(torch.tensor(0.5), sizes[:, :1] - 0.5)
    columns = (boxes[:, 1:2] + boxes[:, 3:4] * steps).clamp(torch.tensor(0.5), sizes[:, 1:] - 0.5)
    y = copy_to(rows / frame_height * 2 - 1, images.device)
    x = copy_to(columns / frame_width * 2 - 1, images.device)
    grid = torch.stack([x[:, None, :].expand(-1, side, -1), y[:, :, None].expand(-1, -1, side)], dim=3)
    return F.grid_sample(_to_float(images), grid, mode="bilinear", align_corners=False)


def _to_float(images: torch.Tensor) -> torch.Tensor:
    return images if images.is_floating_point() else images.to(torch.get_default_dtype()).div_(255)


def _draw(
    count: int, *shape: int, generator: torch.Generator, share: Share, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Draw uniform numbers (``count``, …): those of a share of a batch, which takes drawing those of all."""
    number, shares = share
    drawn = torch.rand(count * shares, *shape, generator=generator, dtype=dtype)
    return drawn[number * count : (number + 1) * count]


def _grey(images: torch.Tensor) -> torch.Tensor:
    """Return the luma (B, 1, H, W) of images (B, 3, H, W)."""
    weights = channel_constant(GREY_WEIGHTS, images.dtype, images.device)
    return (images * weights).sum(dim=1, keepdim=True)
