"""Flat pictures that always face the camera: trees by season, people, lamps, signs and other things on posts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from progeo_toy_city.materials import Colour, Pixels, mix, shade
from progeo_toy_city.palette import GOODS, NAMES, PAINTS
from progeo_toy_city.sheet import lettering


@dataclass(frozen=True)
class Sprite:
    """A picture ``(H, W, 4)`` in ever smaller sizes, its size in metres, and the heights of lamps in it (or none)."""

    levels: tuple[Pixels, ...]
    width: float
    height: float
    lamp: float | None = None


class _Pad:
    """A transparent pad of ``width`` by ``height`` metres to draw on; u = 0 is the middle, z = 0 the ground."""

    def __init__(self, width: float, height: float, scale: float) -> None:
        self.width, self.height, self.scale = width, height, scale
        self.image = Image.new("RGBA", (round(width * scale), round(height * scale)))
        self.pen = ImageDraw.Draw(self.image)

    def spot(self, u: float, z: float) -> tuple[float, float]:
        return (u + self.width / 2) * self.scale, (self.height - z) * self.scale

    def box(self, u0: float, z0: float, u1: float, z1: float, colour: Colour) -> None:
        (left, bottom), (right, top) = self.spot(u0, z0), self.spot(u1, z1)
        self.pen.rectangle((left, top, max(right - 1, left), max(bottom - 1, top)), fill=(*colour, 255))

    def disc(self, u: float, z: float, across: float, up: float, colour: Colour) -> None:
        x, y = self.spot(u, z)
        across, up = across * self.scale, up * self.scale
        self.pen.ellipse((x - across, y - up, x + across, y + up), fill=(*colour, 255))

    def polygon(self, points: list[tuple[float, float]], colour: Colour) -> None:
        self.pen.polygon([self.spot(u, z) for u, z in points], fill=(*colour, 255))

    def line(self, points: list[tuple[float, float]], colour: Colour, thickness: float) -> None:
        width = max(round(thickness * self.scale), 1)
        self.pen.line([self.spot(u, z) for u, z in points], fill=(*colour, 255), width=width, joint="curve")

    def words(self, text: str, u0: float, z0: float, u1: float, z1: float, colour: Colour) -> None:
        (left, bottom), (right, top) = self.spot(u0, z0), self.spot(u1, z1)
        mask = lettering(text).resize((max(int(right - left), 1), max(int(bottom - top), 1)), Image.Resampling.BOX)
        self.image.paste((*colour, 255), (int(left), int(top)), mask)

    def sprite(self, lamp: float | None = None) -> Sprite:
        # Averages of colour are taken with alpha as weight, or edges would darken towards the empty black around them.
        levels: list[Pixels] = []
        image = self.image.convert("RGBa")
        while min(image.size) >= 2 and len(levels) < 7:
            image = image.reduce(2)
            levels.append(np.asarray(image.convert("RGBA")))
        return Sprite(tuple(levels), self.width, self.height, lamp)


LEAVES: dict[str, list[Colour]] = {
    "summer": [(62, 92, 40), (78, 108, 46), (50, 84, 50), (88, 112, 58)],
    "spring": [(122, 152, 70), (136, 164, 84), (224, 170, 186), (236, 226, 220)],
    "autumn": [(190, 120, 44), (170, 82, 40), (200, 160, 60), (130, 100, 50)],
}


@lru_cache(maxsize=256)
def tree(variant: int, season: str, snow: bool) -> Sprite:
    """Return a tree (variant modulo 12) as it looks in ``season``: spring, summer, autumn or winter."""
    variant %= 12
    rng = np.random.default_rng([17, variant])
    height, across = rng.uniform(5.5, 9.0), rng.uniform(1.7, 2.6)
    slender = variant % 4 == 3
    if slender:
        height, across = height * 1.1, across * 0.55
    pad = _Pad(2 * across + 1.6, height + 0.4, 72)
    bark: Colour = (84, 72, 60) if variant % 3 else (120, 112, 104)
    trunk = 0.3 * height
    pad.polygon([(-0.17, 0), (0.17, 0), (0.1, trunk + 0.6), (-0.1, trunk + 0.6)], bark)
    pad.polygon([(0.02, 0), (0.17, 0), (0.1, trunk + 0.6), (0.02, trunk + 0.6)], shade(bark, 0.7))
    reach = height * (0.27 if season == "winter" else 0.19)
    _branch(pad, rng, (0.0, trunk), np.pi / 2, reach, 0.14, bark, 5, snow, 0.5 if not slender else 0.25)
    if season == "winter":
        return pad.sprite()
    leaf = LEAVES[season][variant % len(LEAVES[season])]
    shades = [shade(leaf, 0.4 + 0.04 * step) for step in range(32)]
    middle = trunk + (height - trunk) * 0.52
    tall = (height - trunk) * 0.5
    blobs = rng.normal(0, 0.44, (60, 2)).clip(-0.92, 0.92)
    blobs = blobs[np.argsort(blobs[:, 1] + rng.normal(0, 0.3, 60))]
    for across_share, up_share in blobs.tolist():
        u, z = across_share * across * max(1 - up_share**2, 0.05) ** 0.5, middle + up_share * tall
        light = 0.72 + 0.34 * (up_share + 1) / 2 - 0.1 * across_share
        spots, chances = rng.normal(0, 0.23, (30, 2)), rng.random((30, 2))
        brightness = light * (0.86 + 0.6 * spots[:, 1]) * (0.8 + 0.4 * chances[:, 0])
        tones = np.clip((brightness - 0.4) / 0.04, 0, 31).astype(int).tolist()
        for (du, dz), tone, size in zip(spots.tolist(), tones, (0.05 + 0.08 * chances[:, 1]).tolist(), strict=True):
            pad.disc(u + du, z + dz, size, size * 0.8, shades[tone])
    return pad.sprite()


def _branch(
    pad: _Pad, rng: np.random.Generator, foot: tuple[float, float], angle: float, length: float, thickness: float,
    bark: Colour, depth: int, snow: bool, spread: float,
) -> None:  # fmt: skip
    tip = (foot[0] + length * np.cos(angle), foot[1] + length * np.sin(angle))
    pad.line([foot, tip], shade(bark, 0.8 + 0.08 * depth), max(thickness, 0.03))
    if snow and depth < 4:
        pad.line([(foot[0], foot[1] + 0.04), (tip[0], tip[1] + 0.04)], (236, 240, 246), max(thickness * 0.5, 0.03))
    if depth:
        for turn in (-1, 0, 1) if depth > 3 else (-1, 1):
            bent = angle + turn * spread + rng.normal(0, 0.16)
            share = rng.uniform(0.66, 0.84)
            _branch(pad, rng, tip, bent, length * share, thickness * 0.62, bark, depth - 1, snow, spread)


@lru_cache(maxsize=256)
def person(variant: int, umbrella: bool, warm: bool) -> Sprite:
    """Return someone on foot (variant modulo 60), with an umbrella in the rain and a coat when it is cold."""
    rng = np.random.default_rng([19, variant % 60])
    tall = rng.uniform(1.58, 1.88)
    pad = _Pad(1.5, 2.25 if umbrella else 1.95, 140)
    skin: Colour = [(224, 184, 156), (198, 150, 118), (140, 98, 74), (96, 66, 52)][rng.integers(4)]
    top = shade([*PAINTS, (90, 94, 100), (170, 160, 140)][rng.integers(len(PAINTS) + 2)], 0.9)
    legs: Colour = [(44, 50, 66), (60, 56, 52), (34, 34, 38), (96, 100, 110), (120, 104, 80)][rng.integers(5)]
    stride, waist, shoulder = rng.uniform(0.05, 0.26), 0.5 * tall, 0.82 * tall
    for side, dark in ((-1, 0.75), (1, 1.0)):
        foot = side * stride
        pad.line([(0.04 * side, waist), (foot * 0.6 + 0.03, 0.27 * tall), (foot, 0.06)], shade(legs, dark), 0.15)
        pad.box(foot - 0.09, 0, foot + 0.15, 0.07, (40, 34, 32))
    pad.line([(-0.16, shoulder - 0.06), (-0.24 - stride * 0.4, waist + 0.02)], shade(top, 0.75), 0.11)
    hem = waist - (0.22 if warm else 0.04)
    pad.polygon([(-0.2, shoulder), (0.2, shoulder), (0.22, hem), (-0.22, hem)], top)
    pad.polygon([(0.05, shoulder), (0.2, shoulder), (0.22, hem), (0.08, hem)], shade(top, 0.8))
    pad.line([(0.17, shoulder - 0.06), (0.25 + stride * 0.3, waist + 0.04)], shade(top, 0.9), 0.11)
    pad.disc(0, 0.92 * tall, 0.095, 0.125, skin)
    pad.disc(
        0, 0.96 * tall, 0.105, 0.09, [(40, 30, 26), (90, 60, 36), (180, 150, 90), (120, 120, 120)][rng.integers(4)]
    )
    if rng.random() < 0.5:
        pad.box(0.2, waist - 0.15, 0.42, waist + 0.18, GOODS[rng.integers(len(GOODS))])
    if umbrella:
        colour = PAINTS[rng.integers(len(PAINTS))]
        arc = [(0.1 + 0.58 * np.cos(a), 1.8 + 0.36 * np.sin(a)) for a in np.linspace(0, np.pi, 13)]
        pad.line([(0.1, 1.1), (0.1, 2.0)], (50, 50, 50), 0.03)
        pad.polygon(arc, colour)
        pad.polygon([arc[0], arc[3], arc[5], (0.1, 1.8)], shade(colour, 0.75))
    return pad.sprite()


@lru_cache(maxsize=16)
def lamp(variant: int) -> Sprite:
    """Return a street lamp: lantern, globes, or a modern arm (variant modulo 3)."""
    iron: Colour = (48, 54, 52)
    if variant % 3 == 0:
        pad = _Pad(0.9, 4.9, 72)
        pad.line([(0, 0), (0, 4.0)], iron, 0.11)
        pad.box(-0.14, 0, 0.14, 0.8, iron)
        pad.polygon([(-0.14, 4.0), (0.14, 4.0), (0.24, 4.5), (-0.24, 4.5)], (232, 224, 196))
        pad.polygon([(-0.28, 4.5), (0.28, 4.5), (0, 4.8)], iron)
        pad.line([(0, 4.0), (0, 4.5)], iron, 0.04)
        return pad.sprite(4.25)
    if variant % 3 == 1:
        pad = _Pad(1.8, 4.9, 72)
        pad.line([(0, 0), (0, 4.4)], iron, 0.1)
        pad.box(-0.12, 0, 0.12, 0.6, iron)
        for side in (-1, 1):
            pad.line([(0, 4.0), (side * 0.6, 4.15)], iron, 0.06)
            pad.disc(side * 0.62, 4.35, 0.2, 0.2, (236, 230, 214))
        pad.disc(0, 4.6, 0.2, 0.2, (236, 230, 214))
        return pad.sprite(4.4)
    pad = _Pad(2.6, 7.0, 72)
    pad.line([(0, 0), (0, 6.4), (0.3, 6.8), (1.1, 6.85)], (128, 132, 136), 0.1)
    pad.box(-0.1, 0, 0.1, 0.9, (110, 114, 118))
    pad.box(0.7, 6.72, 1.25, 6.86, (206, 206, 200))
    return pad.sprite(6.7)


@lru_cache(maxsize=512)
def post(kind: str, variant: int) -> Sprite:
    """Return a thing that looks alike from all sides: sign, plate, signal, bin, postbox, bollard, kiosk or bicycle."""
    return _POSTS[kind](np.random.default_rng([23, variant]))


def _sign(rng: np.random.Generator) -> Sprite:
    pad = _Pad(0.9, 3.0, 100)
    pad.line([(0, 0), (0, 2.7)], (140, 142, 144), 0.06)
    kind = rng.integers(5)
    if kind == 0:
        pad.disc(0, 2.55, 0.36, 0.36, (196, 40, 36))
        pad.box(-0.24, 2.48, 0.24, 2.62, (240, 240, 240))
    elif kind == 1:
        pad.disc(0, 2.55, 0.36, 0.36, (196, 40, 36))
        pad.disc(0, 2.55, 0.27, 0.27, (240, 240, 238))
        pad.words(str(rng.choice([30, 40, 50])), -0.18, 2.42, 0.18, 2.68, (30, 30, 30))
    elif kind == 2:
        pad.box(-0.3, 2.2, 0.3, 2.85, (32, 74, 156))
        pad.words("P", -0.12, 2.32, 0.14, 2.74, (244, 244, 244))
    elif kind == 3:
        pad.polygon([(-0.4, 2.25), (0.4, 2.25), (0, 2.95)], (196, 40, 36))
        pad.polygon([(-0.24, 2.34), (0.24, 2.34), (0, 2.76)], (244, 240, 226))
    else:
        pad.disc(0, 2.55, 0.36, 0.36, (34, 80, 160))
        pad.polygon(
            [(-0.1, 2.35), (0.1, 2.35), (0.1, 2.55), (0.2, 2.55), (0, 2.8), (-0.2, 2.55), (-0.1, 2.55)], (244, 244, 244)
        )
    return pad.sprite()


def _plate(rng: np.random.Generator) -> Sprite:
    pad = _Pad(1.7, 3.1, 100)
    pad.line([(-0.6, 0), (-0.6, 3.0)], (110, 112, 114), 0.07)
    colour: Colour = [(24, 60, 130), (20, 92, 60), (236, 234, 226)][rng.integers(3)]
    ink: Colour = (244, 244, 240) if sum(colour) < 400 else (30, 30, 34)
    pad.box(-0.55, 2.6, 0.8, 2.98, colour)
    pad.words(
        f"{NAMES[rng.integers(len(NAMES))]} {['St', 'Ave', 'Lane', 'Row'][rng.integers(4)]}",
        -0.48,
        2.67,
        0.73,
        2.91,
        ink,
    )
    return pad.sprite()


def _signal(rng: np.random.Generator) -> Sprite:
    pad = _Pad(0.6, 3.5, 100)
    pad.line([(0, 0), (0, 2.5)], (70, 74, 78), 0.09)
    pad.box(-0.19, 2.45, 0.19, 3.45, (34, 38, 36))
    burning = rng.integers(3)
    for index, colour in enumerate([(230, 50, 40), (240, 180, 50), (60, 210, 110)]):
        bright: Colour = (colour[0], colour[1], colour[2])
        pad.disc(0, 3.27 - 0.32 * index, 0.12, 0.12, bright if index == burning else shade(bright, 0.3))
    return pad.sprite()


def _bin(rng: np.random.Generator) -> Sprite:
    pad = _Pad(0.7, 1.1, 120)
    colour: Colour = [(40, 70, 60), (70, 74, 78), (180, 90, 40), (50, 60, 90)][rng.integers(4)]
    pad.polygon([(-0.24, 0.1), (0.24, 0.1), (0.29, 0.95), (-0.29, 0.95)], colour)
    pad.polygon([(0.06, 0.1), (0.24, 0.1), (0.29, 0.95), (0.08, 0.95)], shade(colour, 0.7))
    pad.box(-0.3, 0.88, 0.3, 1.0, shade(colour, 0.6))
    return pad.sprite()


def _postbox(rng: np.random.Generator) -> Sprite:
    pad = _Pad(0.8, 1.6, 120)
    colour: Colour = [(200, 40, 40), (236, 190, 40), (30, 70, 140)][rng.integers(3)]
    pad.box(-0.26, 0.05, 0.26, 1.3, colour)
    pad.disc(0, 1.3, 0.28, 0.16, shade(colour, 0.85))
    pad.box(0.08, 0.05, 0.26, 1.3, shade(colour, 0.75))
    pad.box(-0.18, 1.08, 0.14, 1.14, (20, 20, 20))
    pad.box(-0.15, 0.7, 0.1, 0.92, (244, 240, 230))
    return pad.sprite()


def _bollard(rng: np.random.Generator) -> Sprite:
    pad = _Pad(0.4, 1.1, 120)
    colour: Colour = [(50, 54, 56), (150, 148, 142), (120, 40, 40)][rng.integers(3)]
    pad.box(-0.1, 0, 0.1, 0.9, colour)
    pad.disc(0, 0.92, 0.13, 0.1, shade(colour, 1.2))
    pad.box(-0.1, 0.66, 0.1, 0.76, (224, 220, 210))
    return pad.sprite()


def _kiosk(rng: np.random.Generator) -> Sprite:
    """An advertising column covered with posters."""
    pad = _Pad(1.8, 3.6, 100)
    pad.box(-0.62, 0, 0.62, 0.4, (90, 92, 90))
    pad.box(-0.6, 0.4, 0.6, 2.8, (210, 206, 196))
    for row in range(2):
        for column in range(2):
            u, z = -0.56 + column * 0.58, 0.5 + row * 1.15
            colour = GOODS[rng.integers(len(GOODS))]
            pad.box(u, z, u + 0.53, z + 1.05, colour)
            pad.disc(u + 0.27, z + 0.6, 0.18, 0.25, GOODS[rng.integers(len(GOODS))])
            pad.words(
                NAMES[rng.integers(len(NAMES))].upper(), u + 0.05, z + 0.08, u + 0.48, z + 0.26, shade(colour, 0.3)
            )
    pad.polygon([(-0.75, 2.8), (0.75, 2.8), (0.6, 3.0), (0, 3.45), (-0.6, 3.0)], (54, 84, 72))
    return pad.sprite()


def _bicycle(rng: np.random.Generator) -> Sprite:
    pad = _Pad(2.0, 1.2, 120)
    frame = PAINTS[rng.integers(len(PAINTS))]
    for u in (-0.55, 0.55):
        for angle in np.linspace(0, 2 * np.pi, 25):
            pad.disc(u + 0.33 * np.cos(angle), 0.34 + 0.33 * np.sin(angle), 0.03, 0.03, (34, 34, 36))
        pad.line([(u - 0.3, 0.34), (u + 0.3, 0.34)], (120, 120, 120), 0.01)
        pad.line([(u, 0.04), (u, 0.64)], (120, 120, 120), 0.01)
    corners = [(-0.55, 0.34), (-0.05, 0.34), (0.4, 0.8), (-0.2, 0.8), (-0.55, 0.34)]
    pad.line(corners, frame, 0.045)
    pad.line([(-0.05, 0.34), (-0.22, 0.95)], frame, 0.045)
    pad.line([(0.55, 0.34), (0.38, 1.0), (0.52, 1.05)], mix(frame, (60, 60, 60), 0.4), 0.04)
    pad.box(-0.34, 0.93, -0.1, 1.0, (40, 34, 30))
    return pad.sprite()


_POSTS = {
    "sign": _sign,
    "plate": _plate,
    "signal": _signal,
    "bin": _bin,
    "postbox": _postbox,
    "bollard": _bollard,
    "kiosk": _kiosk,
    "bicycle": _bicycle,
}
