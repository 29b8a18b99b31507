"""The ground of a district as one large picture: asphalt, kerbs, pavements, markings, crossings, grass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from progeo_toy_city.materials import Colour, Grid, cloud_noise
from progeo_toy_city.plan import Plan, Points, Street
from progeo_toy_city.sheet import pack

ASPHALT, PAVEMENT, MARKING, GRASS = 0, 1, 2, 3
PAINT: Colour = (206, 204, 196)
MARGIN = 30.0


@dataclass(frozen=True)
class Ground:
    """Packed texels from above, finest level first; row 0 is y = -MARGIN; ``scale`` is texels per metre of level 0."""

    levels: list[NDArray[np.uint32]]
    scale: float


class _Canvas:
    """A picture of the ground and the material of each texel, drawn upon together in metres."""

    def __init__(self, extent: float, scale: float) -> None:
        side = round(extent * scale)
        self.scale = scale
        self.colours = Image.new("RGB", (side, side), (128, 124, 118))
        self.codes = Image.new("L", (side, side), PAVEMENT)
        self._colour_pen, self._code_pen = ImageDraw.Draw(self.colours), ImageDraw.Draw(self.codes)

    def _pixels(self, points: Points) -> list[tuple[float, float]]:
        return [((x + MARGIN) * self.scale, (y + MARGIN) * self.scale) for x, y in points]

    def polygon(self, points: Points, colour: Colour, code: int) -> None:
        corners = self._pixels(points)
        self._colour_pen.polygon(corners, fill=colour)
        self._code_pen.polygon(corners, fill=code)

    def disc(self, x: float, y: float, radius: float, colour: Colour, code: int) -> None:
        box = self._pixels(np.array([[x - radius, y - radius], [x + radius, y + radius]]))
        self._colour_pen.ellipse(box, fill=colour)
        self._code_pen.ellipse(box, fill=code)

    def line(self, points: Points, colour: Colour, code: int, width: float) -> None:
        corners, thickness = self._pixels(points), max(round(width * self.scale), 1)
        self._colour_pen.line(corners, fill=colour, width=thickness, joint="curve")
        self._code_pen.line(corners, fill=code, width=thickness, joint="curve")


def draw_ground(plan: Plan, scale: float, rng: np.random.Generator) -> Ground:
    """Draw the ground of a district at ``scale`` texels per metre."""
    canvas = _Canvas(plan.extent, scale)
    for block in plan.gardens:
        canvas.polygon(block, (92, 118, 58), GRASS)
        for k in range(2):
            middles = np.array([(block[k] + block[k + 1]) / 2, (block[k - 2] + block[(k + 3) % 4]) / 2])
            canvas.line(middles, (176, 160, 130), PAVEMENT, 3.0)
    for colour, code, wider in (((150, 148, 142), PAVEMENT, 0.16), ((74, 75, 79), ASPHALT, 0.0)):
        for street in plan.streets:
            width = 2 * (street.half_width - street.pavement + wider)
            canvas.line(_prolonged(street.line), colour, code, width)
    for street in plan.streets:
        _mark(canvas, street, rng)
    for street in plan.streets:
        _repair(canvas, street, rng)
    return Ground(_levels(_finish(canvas, plan, rng)), scale)


def _prolonged(line: Points) -> Points:
    """Return the line, a little longer at both ends so that end crossings have no notches."""
    first, last = line[0] - line[1], line[-1] - line[-2]
    ends = line[0] + first / np.linalg.norm(first) * 5.5, line[-1] + last / np.linalg.norm(last) * 5.5
    return np.concatenate([ends[0][None], line[1:-1], ends[1][None]])


def _strip(street: Street, start: float, end: float, left: float, right: float) -> Points:
    """Return the corners of a patch of road between two distances along the street and two from its centre."""
    corners = [(start, left), (start, right), (end, right), (end, left)]
    return np.array([street.locate(along, aside)[:2] for along, aside in corners])


def _mark(canvas: _Canvas, street: Street, rng: np.random.Generator) -> None:
    """Paint dashes, parking lanes, stop lines and zebra crossings."""
    kerb = street.half_width - street.pavement
    zebra = rng.random(2 * len(street.crossings)) < 0.7
    yellow = rng.random() < 0.3
    paint: Colour = (196, 168, 80) if yellow else PAINT
    for k in range(len(street.crossings) - 1):
        begin, end = street.crossings[k] + 9.0, street.crossings[k + 1] - 9.0
        for near, along in ((2 * k, begin - 1.2), (2 * k + 1, end + 1.2)):
            forwards = 1 if near % 2 == 0 else -1
            if zebra[near]:
                for aside in np.arange(-kerb + 0.35, kerb - 0.5, 1.0):
                    strip = _strip(street, along - 1.6 * forwards, along + 1.2 * forwards, aside, aside + 0.5)
                    canvas.polygon(strip, PAINT, MARKING)
            stop = _strip(street, along + 2.2 * forwards, along + 2.6 * forwards, 0.1 * -forwards, kerb * -forwards)
            canvas.polygon(stop, PAINT, MARKING)
        for along in np.arange(begin + 3, end - 5, 5.0):
            canvas.polygon(_strip(street, along, along + 2.4, -0.08, 0.08), paint, MARKING)
        for side in (-1, 1):
            lane = side * (kerb - 2.15)
            canvas.polygon(_strip(street, begin + 3, end - 3, lane - 0.06, lane + 0.06), PAINT, MARKING)
            for along in np.arange(begin + 3, end - 3, 5.6):
                canvas.polygon(_strip(street, along, along + 0.12, lane, side * (kerb - 0.05)), PAINT, MARKING)


def _repair(canvas: _Canvas, street: Street, rng: np.random.Generator) -> None:
    """Patch the asphalt, and lay manholes, drains and cracks."""
    kerb = street.half_width - street.pavement
    for _ in range(26):
        along, aside = rng.uniform(3, street.length - 6), rng.uniform(-kerb + 0.3, kerb - 1.6)
        grey = int(rng.integers(56, 96))
        patch = _strip(street, along, along + rng.uniform(0.8, 4.5), aside, aside + rng.uniform(0.5, 1.5))
        canvas.polygon(patch, (grey, grey, grey + 3), ASPHALT)
    for _ in range(14):
        x, y, _heading = street.locate(rng.uniform(3, street.length - 3), rng.uniform(-kerb + 1, kerb - 1))
        canvas.disc(x, y, 0.38, (52, 50, 50), ASPHALT)
        canvas.disc(x, y, 0.3, (84, 80, 78), ASPHALT)
    for along in np.arange(12, street.length - 10, 17.0):
        for side in (-1, 1):
            canvas.polygon(
                _strip(street, along, along + 0.7, side * (kerb - 0.4), side * (kerb - 0.05)), (40, 40, 42), ASPHALT
            )
    for _ in range(18):
        steps = rng.normal(0, 0.35, (9, 2)).cumsum(axis=0)
        x, y, _heading = street.locate(rng.uniform(3, street.length - 3), rng.uniform(-kerb + 1, kerb - 1))
        canvas.line(steps + np.array([x, y]), (50, 50, 53), ASPHALT, 0.06)


def _finish(canvas: _Canvas, plan: Plan, rng: np.random.Generator) -> Image.Image:
    """Give the flat colours grain, slabs, wear and the shade near walls; return red, green, blue, code as RGBA."""
    side, scale = canvas.colours.width, canvas.scale
    codes = canvas.codes
    grain = _tiled(rng.normal(1.0, 0.075, (256, 256)), side)
    slab = max(round(0.6 * scale), 3)
    slabs = np.repeat(np.repeat(rng.normal(1.0, 0.05, (40, 20)), slab, axis=0), 2 * slab, axis=1)
    slabs[::slab] *= 0.82
    slabs[:, :: 2 * slab] *= 0.82
    slabs = slabs * rng.normal(1.0, 0.03, slabs.shape)
    light = Image.composite(_tiled(slabs, side), grain, codes.point(lambda code: 255 if code == PAVEMENT else 0))
    wear = Image.fromarray(_bytes(1 + cloud_noise(side // 4, side // 4, 3 * scale, rng, 3) * 0.16))
    walls = Image.new("L", (side // 4, side // 4), 128)
    pen = ImageDraw.Draw(walls)
    for footprint, _height in plan.footprints:
        pen.polygon([((x + MARGIN) * scale / 4, (y + MARGIN) * scale / 4) for x, y in footprint], fill=40)
    shade = walls.filter(ImageFilter.GaussianBlur(0.7 * scale / 4))
    for factor in (wear, shade):
        light = ImageChops.multiply(light, factor.resize((side, side), Image.Resampling.BILINEAR).point(_twice))
    # Light is kept as bytes around 128, so that multiplying by it and doubling leaves mean colours as they are.
    doubled = [ImageChops.multiply(band, light).point(_twice) for band in canvas.colours.split()]
    return Image.merge("RGBA", [*doubled, codes])


def _twice(value: float) -> float:
    return min(value * 2, 255)


def _bytes(light: Grid | Points) -> NDArray[np.uint8]:
    bytes_around_128: NDArray[np.uint8] = np.clip(light * 128, 0, 255).astype(np.uint8)
    return bytes_around_128


def _tiled(tile: Points, side: int) -> Image.Image:
    """Return the pattern ``tile`` of light around 1 over a square of ``side`` texels, as bytes around 128."""
    part = _bytes(tile)
    repeats = (side // part.shape[0] + 1, side // part.shape[1] + 1)
    return Image.fromarray(np.tile(part, repeats)[:side, :side])


def _levels(finished: Image.Image) -> list[NDArray[np.uint32]]:
    """Return packed texels at full size, then at half of it, and so on."""
    levels: list[NDArray[np.uint32]] = []
    *bands, codes = finished.split()
    while min(codes.size) > 16 and len(levels) < 6:
        levels.append(pack(np.dstack([np.asarray(band) for band in bands]), np.asarray(codes)))
        bands = [band.reduce(2) for band in bands]
        codes = codes.resize(bands[0].size, Image.Resampling.NEAREST)
    return levels
