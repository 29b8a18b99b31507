"""Cars: an outline seen from the side, as wide as a car, with windows, wheels and lamps on it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from progeo_toy_city.materials import Colour, shade
from progeo_toy_city.solids import Corner, Faces, Solid

GLASS: Colour = (52, 62, 72)
SNOW: Colour = (236, 240, 246)
PLATE: Colour = (238, 238, 232)
WHEEL: list[tuple[float, Colour]] = [
    (0.4, (18, 18, 20)),
    (0.33, (26, 26, 28)),
    (0.2, (150, 152, 156)),
    (0.07, (60, 60, 64)),
]
COLOURS: list[Colour] = [
    (196, 198, 200), (226, 226, 224), (46, 48, 52), (28, 30, 34), (120, 124, 130), (150, 34, 34), (32, 58, 110),
    (60, 90, 76), (190, 160, 110), (206, 110, 40), (90, 130, 160), (230, 200, 70), (110, 30, 50), (150, 168, 150),
]  # fmt: skip


@dataclass(frozen=True)
class _Shape:
    """Points from the front bumper over the roof to the rear (x forwards, z up, in metres).

    The windscreen is the piece after point 3, the rear window the one after point 5. ``half`` is half the width,
    ``lean`` how much narrower the roof is on each side.
    """

    outline: tuple[tuple[float, float], ...]
    half: float
    lean: float = 0.24
    van: bool = False

    def side(self, z: float) -> float:
        """Half the width at height z: upright below the windows, leaning inwards above."""
        belt, roof = self.outline[3][1], max(z for _, z in self.outline)
        return self.half - self.lean * max(z - belt, 0) / (roof - belt)


_SHAPES = (
    _Shape(((2.2, 0.3), (2.24, 0.58), (2.1, 0.74), (1.15, 0.92), (0.4, 1.38), (-0.7, 1.4), (-1.45, 1.02), (-2.1, 0.96),
            (-2.2, 0.62), (-2.15, 0.3)), 0.86),
    _Shape(((1.9, 0.3), (1.94, 0.6), (1.8, 0.78), (1.05, 0.96), (0.35, 1.46), (-1.2, 1.48), (-1.75, 1.0), (-1.85, 0.7),
            (-1.85, 0.3)), 0.84),
    _Shape(((2.25, 0.3), (2.3, 0.6), (2.15, 0.76), (1.2, 0.94), (0.45, 1.42), (-1.75, 1.46), (-2.2, 1.0), (-2.28, 0.7),
            (-2.25, 0.3)), 0.87),
    _Shape(((2.15, 0.4), (2.2, 0.75), (2.05, 1.0), (1.05, 1.14), (0.5, 1.72), (-1.6, 1.74), (-2.05, 1.2), (-2.15, 0.85),
            (-2.12, 0.4)), 0.92),
    _Shape(((2.45, 0.35), (2.5, 0.75), (2.35, 1.05), (1.85, 1.2), (1.25, 2.05), (-2.4, 2.1), (-2.48, 1.2), (-2.5, 0.7),
            (-2.48, 0.35)), 0.97, lean=0.08, van=True),
)  # fmt: skip
VARIANTS = len(_SHAPES) * len(COLOURS)


@lru_cache(maxsize=2 * VARIANTS)
def car(variant: int, snow: bool) -> Solid:
    """Return a car whose shape and colour are the ``variant``'s (modulo ``VARIANTS``), with snow on top or without."""
    shape = _SHAPES[variant % len(_SHAPES)]
    body = COLOURS[variant // len(_SHAPES) % len(COLOURS)]
    faces = Faces()
    for (x0, z0), (x1, z1) in itertools.pairwise(shape.outline):
        covered = snow and z1 > 0.7 and x0 - x1 > 0.8
        faces.face(_across(shape, (x0, z0), (x1, z1)), SNOW if covered else body)
    for first in (3,) if shape.van else (3, 5):
        (x0, z0), (x1, z1) = shape.outline[first], shape.outline[first + 1]
        low, high = ((x0 + (x1 - x0) * share, z0 + (z1 - z0) * share) for share in (0.1, 0.92))
        faces.face(_across(shape, low, high, inset=0.1), GLASS, layer=1)
    for sign in (-1, 1):
        flank = [(x, sign * shape.side(z), z) for x, z in shape.outline]
        faces.face(flank[::-sign], body)
        _dress_flank(faces, shape, sign, body)
    front, rear = shape.outline[1][0] + 0.03, shape.outline[-2][0] - 0.03
    faces.face([(front, -0.26, 0.36), (front, 0.26, 0.36), (front, 0.26, 0.47), (front, -0.26, 0.47)], PLATE, layer=1)
    faces.face([(rear, 0.26, 0.5), (rear, -0.26, 0.5), (rear, -0.26, 0.61), (rear, 0.26, 0.61)], PLATE, layer=1)
    return faces.solid((shape.outline[0][0] - shape.outline[-1][0], 2 * shape.half))


def _across(shape: _Shape, low: tuple[float, float], high: tuple[float, float], inset: float = 0.0) -> list[Corner]:
    """Return the face that spans the car from side to side between two points of its outline."""
    a, b = shape.side(low[1]) - inset, shape.side(high[1]) - inset
    return [(low[0], -a, low[1]), (low[0], a, low[1]), (high[0], b, high[1]), (high[0], -b, high[1])]


def _dress_flank(faces: Faces, shape: _Shape, sign: int, body: Colour) -> None:
    """Put windows, wheels, lamps and the shade of the sill on one side: the right (-1) or the left (1)."""
    for pane in _side_windows(shape):
        faces.face([(x, sign * shape.side(z), z) for x, z in pane][::-sign], GLASS, layer=1)
    edge = sign * shape.half
    faces.face(
        [(1.5, edge, 0.3), (1.5, edge, 0.38), (-1.5, edge, 0.38), (-1.5, edge, 0.3)][::-sign], shade(body, 0.5), layer=1
    )
    angles = np.linspace(0, 2 * np.pi, 13)[:-1].tolist()
    for middle in (shape.outline[0][0] - 0.8, shape.outline[-1][0] + 0.8):
        for layer, (radius, colour) in enumerate(WHEEL):
            ring = [(middle + radius * np.cos(a), edge, max(0.33 + radius * np.sin(a), 0.0)) for a in angles]
            faces.face(ring[::-sign], colour, layer=1 + layer)
    front, rear, z = shape.outline[1][0] + 0.02, shape.outline[-2][0] - 0.02, shape.outline[1][1]
    near, far = sign * (shape.half - 0.06), sign * (shape.half - 0.42)
    lamp = [(front, near, z - 0.14), (front, near, z + 0.02), (front, far, z + 0.02), (front, far, z - 0.14)]
    faces.face(lamp[::sign], (236, 236, 226), (250, 240, 210), layer=1)
    far = sign * (shape.half - 0.22)
    lamp = [(rear, far, z + 0.02), (rear, far, z + 0.26), (rear, near, z + 0.26), (rear, near, z + 0.02)]
    faces.face(lamp[::sign], (170, 24, 24), (190, 20, 16), layer=1)


def _side_windows(shape: _Shape) -> list[list[tuple[float, float]]]:
    """Return the panes between windscreen and rear window (x, z): two with a pillar between, or one in a van."""
    (wind_x, belt), (roof_x, roof) = shape.outline[3:5]
    (back_roof, _), (back_belt, _) = shape.outline[5:7]
    low, high = belt + 0.05, roof - 0.1
    rise = (high - low) / (roof - belt)
    ahead, behind = wind_x - 0.2, 0.7 if shape.van else -0.1
    panes = [[(ahead, low), (ahead - (wind_x - roof_x) * rise, high), (behind, high), (behind, low)]]
    if not shape.van:
        tail = back_belt + 0.22
        panes.append([(-0.22, low), (-0.22, high), (tail + (back_roof - back_belt) * rise, high), (tail, low)])
    return panes
