"""How a building looks: its style, colours, storeys and trimmings, drawn once by lot and kept for all of its walls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from progeo_toy_city.materials import Colour, mix, shade
from progeo_toy_city.palette import (
    BEAMS,
    BOARDS,
    BRICKS,
    CONCRETES,
    FRAMES,
    HALF_TIMBERED,
    PAINTS,
    PLASTERS,
    ROOFS,
    STONES,
    TRIMS,
)

CREAM: Colour = (250, 246, 236)
Range = tuple[float, float]


@dataclass(frozen=True)
class Look:
    """What all walls of one building share; lengths in metres."""

    style: str
    material: str
    wall: Colour
    trim: Colour
    frame: Colour
    accent: Colour
    roof: Colour
    floors: int
    floor_height: float
    ground_height: float
    window: str
    window_width: float
    window_height: float
    bay: float
    surround: str
    crown: str
    base: str
    shutters: bool
    balconies: str
    bands: bool

    @property
    def eaves(self) -> float:
        """Height at which the wall ends and the roof begins."""
        return self.ground_height + (self.floors - 1) * self.floor_height + 0.5


@dataclass(frozen=True)
class _Style:
    """What looks of one style are drawn from: words and colours to choose from, ranges, and chances.

    Without ``trims``, trimmings take a paler colour of the wall. Words are separated by spaces; one that stands there
    twice is twice as likely.
    """

    name: str
    share: float
    material: str
    walls: list[Colour]
    floors: tuple[int, int]
    floor_height: Range
    ground_height: Range
    windows: str
    window_width: Range
    window_height: Range
    bay: Range
    surrounds: str
    crowns: str
    bases: str
    balconies: str = "none"
    shutters: float = 0.0
    bands: float = 0.5
    trims: tuple[Colour, ...] = ()
    frames: tuple[Colour, ...] = tuple(FRAMES)
    roofs: tuple[Colour, ...] = tuple(ROOFS)


STYLES = [
    _Style(
        "townhouse", 0.17, "brick", BRICKS, (2, 5), (2.9, 3.4), (3.3, 4.2),
        windows="sash sash arched segmental casement", window_width=(0.95, 1.4), window_height=(1.6, 2.05),
        bay=(1.9, 3.0), surrounds="lintel keystone frame", crowns="cornice parapet mansard brackets",
        bases="shop shop doors doors wall", balconies="none none none iron", shutters=0.2, trims=tuple(TRIMS),
    ),
    _Style(
        "stucco", 0.18, "plaster", PLASTERS, (2, 5), (2.9, 3.5), (3.3, 4.3),
        windows="casement casement french arched", window_width=(0.9, 1.25), window_height=(1.5, 2.1), bay=(2.2, 3.4),
        surrounds="frame frame plain pediment", crowns="tiles tiles cornice eaves", bases="shop shop doors arcade wall",
        balconies="none none iron iron", shutters=0.65, roofs=tuple(ROOFS[2:5]),
    ),
    _Style(
        "palace", 0.12, "ashlar", STONES, (3, 5), (3.3, 3.9), (4.0, 4.8),
        windows="french arched casement", window_width=(1.1, 1.5), window_height=(2.0, 2.5), bay=(2.6, 3.6),
        surrounds="pediment keystone frame", crowns="mansard mansard balustrade brackets",
        bases="shop arcade wall doors", balconies="iron iron stone none", bands=1.0, roofs=tuple(ROOFS[:2]),
    ),
    _Style(
        "timbered", 0.08, "plaster", HALF_TIMBERED, (2, 4), (2.6, 2.9), (2.9, 3.4),
        windows="casement", window_width=(0.9, 1.1), window_height=(1.15, 1.4), bay=(1.7, 2.3),
        surrounds="plain", crowns="gable gable tiles", bases="shop doors wall",
        shutters=0.5, bands=0.0, trims=tuple(BEAMS), roofs=tuple(ROOFS[2:]),
    ),
    _Style(
        "gabled", 0.1, "brick", BRICKS, (3, 4), (2.8, 3.2), (3.2, 3.9),
        windows="sash", window_width=(0.9, 1.2), window_height=(1.6, 2.0), bay=(1.7, 2.2),
        surrounds="lintel frame keystone", crowns="steps steps bell gable", bases="shop doors doors",
        shutters=0.3, trims=tuple(TRIMS[:4]), frames=tuple(FRAMES[:3]),
    ),
    _Style(
        "wooden", 0.09, "boards", BOARDS, (2, 3), (2.9, 3.3), (3.2, 3.8),
        windows="sash casement", window_width=(0.9, 1.2), window_height=(1.6, 1.9), bay=(1.9, 2.6),
        surrounds="frame pediment", crowns="brackets gable cornice", bases="garage doors doors shop",
        shutters=0.2, bands=1.0, trims=((244, 240, 230), (240, 226, 190), (60, 60, 70), (220, 230, 236)),
    ),
    _Style(
        "office", 0.08, "panels", CONCRETES, (4, 7), (3.2, 3.7), (4.0, 5.0),
        windows="curtain curtain strip fins", window_width=(1.2, 1.8), window_height=(1.7, 2.4), bay=(1.5, 2.4),
        surrounds="plain", crowns="flat", bases="shop lobby lobby",
        bands=0.0, trims=tuple(CONCRETES), frames=((50, 54, 58), (180, 184, 188), (110, 80, 60)),
    ),
    _Style(
        "apartments", 0.05, "panels", CONCRETES, (4, 7), (2.8, 3.0), (3.2, 4.0),
        windows="picture picture strip casement", window_width=(1.3, 2.0), window_height=(1.3, 1.7), bay=(2.7, 3.8),
        surrounds="plain", crowns="flat", bases="shop garage doors lobby",
        balconies="glass slab slab none", trims=tuple(CONCRETES),
    ),
    _Style(
        "apartments", 0.03, "plaster", PLASTERS[:8] + BRICKS[:3], (4, 6), (2.8, 3.0), (3.2, 4.0),
        windows="picture picture casement", window_width=(1.3, 2.0), window_height=(1.3, 1.7), bay=(2.7, 3.8),
        surrounds="plain", crowns="flat", bases="shop garage doors lobby",
        balconies="glass slab slab none", trims=tuple(CONCRETES),
    ),
    _Style(
        "warehouse", 0.06, "brick", BRICKS, (2, 4), (3.6, 4.3), (4.0, 4.8),
        windows="industrial industrial segmental", window_width=(2.0, 2.8), window_height=(2.2, 2.8), bay=(3.2, 4.2),
        surrounds="lintel plain", crowns="parapet", bases="garage shop wall",
        bands=1.0, frames=tuple(FRAMES[2:]),
    ),
    _Style(
        "cottage", 0.02, "rubble", STONES, (1, 2), (2.6, 2.9), (2.9, 3.3),
        windows="casement sash", window_width=(0.9, 1.2), window_height=(1.1, 1.5), bay=(2.4, 3.4),
        surrounds="lintel frame plain", crowns="tiles", bases="doors wall shop",
        shutters=0.5, bands=0.0, trims=tuple(TRIMS),
    ),
    _Style(
        "cottage", 0.02, "plaster", PLASTERS, (1, 2), (2.6, 2.9), (2.9, 3.3),
        windows="casement sash", window_width=(0.9, 1.2), window_height=(1.1, 1.5), bay=(2.4, 3.4),
        surrounds="frame plain", crowns="tiles", bases="doors wall shop",
        shutters=0.5, bands=0.0, trims=tuple(TRIMS),
    ),
]  # fmt: skip


def draw_look(rng: np.random.Generator) -> Look:
    """Draw the look of a building by lot."""
    style = STYLES[rng.choice(len(STYLES), p=[style.share for style in STYLES])]
    wall = _colour(rng, style.walls)
    return Look(
        style=style.name,
        material=style.material,
        wall=wall,
        trim=_colour(rng, style.trims) if style.trims else mix(wall, CREAM, rng.uniform(0.35, 0.95)),
        frame=_colour(rng, style.frames),
        accent=_colour(rng, PAINTS),
        roof=_colour(rng, style.roofs),
        floors=int(rng.integers(style.floors[0], style.floors[1] + 1)),
        floor_height=rng.uniform(*style.floor_height),
        ground_height=rng.uniform(*style.ground_height),
        window=_word(rng, style.windows),
        window_width=rng.uniform(*style.window_width),
        window_height=rng.uniform(*style.window_height),
        bay=rng.uniform(*style.bay),
        surround=_word(rng, style.surrounds),
        crown=_word(rng, style.crowns),
        base=_word(rng, style.bases),
        shutters=bool(rng.random() < style.shutters),
        balconies=_word(rng, style.balconies),
        bands=bool(rng.random() < style.bands),
    )


def _colour(rng: np.random.Generator, choices: list[Colour] | tuple[Colour, ...]) -> Colour:
    return shade(choices[rng.integers(len(choices))], rng.uniform(0.9, 1.06))


def _word(rng: np.random.Generator, words: str) -> str:
    choices = words.split()
    return choices[rng.integers(len(choices))]
