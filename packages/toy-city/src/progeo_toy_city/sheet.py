"""A sheet to draw a facade on, in metres: colours, and beside them a code per texel that says how it behaves."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from progeo_toy_city.materials import MATERIALS, Colour, Grid, Pixels

# Codes of texels. Window panes carry 1 + a number that differs from window to window, so that each can be lit alone.
ORDINARY = 0
PANES = 200
SHOP_PANE = 220
SIGN = 240
OPEN = 255


class Sheet:
    """A facade in the making: ``width`` by ``height`` metres, ``scale`` texels per metre, z upwards from the ground."""

    def __init__(self, width: float, height: float, scale: float, rng: np.random.Generator) -> None:
        """Begin an empty sheet; ``rng`` is used by whatever is drawn on it."""
        self.width, self.height, self.scale, self.rng = width, height, scale, rng
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        self.colours = Image.new("RGB", size)
        self.codes = Image.new("L", size, OPEN)
        self._colour_pen = ImageDraw.Draw(self.colours)
        self._code_pen = ImageDraw.Draw(self.codes)

    def _pixel(self, u: float, z: float) -> tuple[float, float]:
        return u * self.scale, (self.height - z) * self.scale

    def _box(self, u0: float, z0: float, u1: float, z1: float) -> tuple[int, int, int, int]:
        left, right = round(u0 * self.scale), round(u1 * self.scale)
        top, bottom = round((self.height - z1) * self.scale), round((self.height - z0) * self.scale)
        return left, top, max(right - 1, left), max(bottom - 1, top)

    def rectangle(self, u0: float, z0: float, u1: float, z1: float, colour: Colour, code: int = ORDINARY) -> None:
        """Fill the rectangle from (u0, z0) up to (u1, z1), at least one texel in size."""
        box = self._box(u0, z0, u1, z1)
        self._colour_pen.rectangle(box, fill=colour)
        self._code_pen.rectangle(box, fill=code)

    def polygon(self, points: Sequence[tuple[float, float]], colour: Colour, code: int = ORDINARY) -> None:
        """Fill the polygon with corners ``points`` (u, z)."""
        corners = [self._pixel(u, z) for u, z in points]
        self._colour_pen.polygon(corners, fill=colour)
        self._code_pen.polygon(corners, fill=code)

    def ellipse(self, u0: float, z0: float, u1: float, z1: float, colour: Colour, code: int = ORDINARY) -> None:
        """Fill the ellipse that touches the rectangle from (u0, z0) to (u1, z1)."""
        box = self._box(u0, z0, u1, z1)
        self._colour_pen.ellipse(box, fill=colour)
        self._code_pen.ellipse(box, fill=code)

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, thickness: float) -> None:
        """Draw a line through ``points`` (u, z), ``thickness`` metres wide but at least one texel."""
        corners = [self._pixel(u, z) for u, z in points]
        width = max(round(thickness * self.scale), 1)
        self._colour_pen.line(corners, fill=colour, width=width)
        self._code_pen.line(corners, fill=ORDINARY, width=width)

    def material(self, name: str, colour: Colour, u0: float, z0: float, u1: float, z1: float) -> None:
        """Cover a rectangle with one of the ``MATERIALS``."""
        left, top, right, bottom = self._box(u0, z0, u1, z1)
        pixels = MATERIALS[name](bottom - top + 1, right - left + 1, self.scale, self.rng, colour)
        self.colours.paste(Image.fromarray(pixels), (left, top))
        self._code_pen.rectangle((left, top, right, bottom), fill=ORDINARY)

    def gradient(self, u0: float, z0: float, u1: float, z1: float, top: Colour, bottom: Colour, code: int) -> None:
        """Fill a rectangle with colours that go from ``top`` to ``bottom``."""
        left, upper, right, lower = self._box(u0, z0, u1, z1)
        ramp = np.linspace(top, bottom, lower - upper + 1)[:, None, :].astype(np.uint8)
        strip = Image.fromarray(np.broadcast_to(ramp, (len(ramp), right - left + 1, 3)).copy())
        self.colours.paste(strip, (left, upper))
        self._code_pen.rectangle((left, upper, right, lower), fill=code)

    def text(
        self,
        words: str,
        u0: float,
        z0: float,
        u1: float,
        z1: float,
        colour: Colour,
        code: int = SIGN,
        slant: float = 0.0,
    ) -> None:
        """Write ``words`` as large as fits into the rectangle, centred; ``slant`` leans the letters to the right."""
        left, top, right, bottom = self._box(u0, z0, u1, z1)
        letters = lettering(words)
        room = (right - left + 1) / (letters.width + abs(slant) * letters.height)
        fit = min(room, (bottom - top + 1) / letters.height)
        # Letters may be squeezed to four fifths of their width: long names are to be read from across the street.
        size = (max(int(letters.width * min(fit * 1.25, room)), 1), max(int(letters.height * fit), 1))
        mask = letters.resize(size, Image.Resampling.BOX)
        if slant:
            lean = int(abs(slant) * size[1])
            mask = mask.transform((size[0] + lean, size[1]), Image.Transform.AFFINE, (1, slant, -lean, 0, 1, 0))
        corner = ((left + right - mask.width) // 2, (top + bottom - mask.height) // 2)
        self.colours.paste(colour, corner, mask)
        self.codes.paste(code, corner, mask.point(lambda value: 255 if value > 128 else 0))

    def lighten(self, light: Grid) -> None:
        """Multiply all colours by ``light`` (a grid of the sheet's size in texels)."""
        pixels = np.asarray(self.colours) * light[:, :, None].astype(np.float32)
        self.colours.paste(Image.fromarray(np.clip(pixels, 0, 255, out=pixels).astype(np.uint8)))

    def shadow(self, u0: float, z0: float, u1: float, z1: float, strength: float) -> None:
        """Darken a rectangle by the share ``strength``, leaving codes as they are."""
        left, top, right, bottom = self._box(u0, z0, u1, z1)
        box = (max(left, 0), max(top, 0), min(right + 1, self.colours.width), min(bottom + 1, self.colours.height))
        if box[0] < box[2] and box[1] < box[3]:
            mask = Image.new("L", (box[2] - box[0], box[3] - box[1]), round(255 * strength))
            self.colours.paste((0, 0, 0), box, mask)

    def levels(self, count: int) -> list[NDArray[np.uint32]]:
        """Return packed texels (red, green, blue, code by byte) at a half, a quarter ... of the sheet's scale."""
        levels = []
        for level in range(1, count + 1):
            small = self.colours.reduce(min(2**level, *self.colours.size))
            codes = self.codes.resize(small.size, Image.Resampling.NEAREST)
            levels.append(pack(np.asarray(small), np.asarray(codes)))
        return levels


def pack(colours: Pixels, codes: Pixels) -> NDArray[np.uint32]:
    """Return colours ``(H, W, 3)`` and codes ``(H, W)`` as one array ``(H, W)`` of four bytes each."""
    quads = np.concatenate([colours, codes[:, :, None]], axis=2)
    return np.ascontiguousarray(quads).view(np.uint32)[:, :, 0]


@lru_cache(maxsize=512)
def lettering(words: str) -> Image.Image:
    """Return ``words`` as a white-on-black image in large letters, cut to their size."""
    font = ImageFont.load_default(size=48)
    left, top, right, bottom = font.getbbox(words, stroke_width=1)
    mask = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
    ImageDraw.Draw(mask).text((1 - left, 1 - top), words, fill=255, font=font, stroke_width=1)
    return mask
