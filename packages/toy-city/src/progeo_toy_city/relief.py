"""What stands out from a facade: awnings, canopies, balconies and projecting signs."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from progeo_toy_city.materials import Colour, shade
from progeo_toy_city.solids import Faces, Solid

IRON: Colour = (44, 46, 48)
SLAB: Colour = (190, 186, 178)


@dataclass(frozen=True)
class Relief:
    """A part in front of a wall: its left end ``u`` and foot ``z`` on the wall, its size in metres, its two colours.

    Kinds are awning, canopy, blade (a sign across the pavement), and balconies by their railing: iron, glass, slab or
    stone.
    """

    kind: str
    u: float
    z: float
    width: float
    height: float
    depth: float
    colour: Colour
    second: Colour


def relief_solid(relief: Relief) -> Solid:
    """Return the part as a thing whose x axis points out of the wall; its origin is on the wall, in its middle."""
    faces = Faces()
    {"awning": _awning, "canopy": _canopy, "blade": _blade}.get(relief.kind, _balcony)(faces, relief)
    return faces.solid()


def _awning(faces: Faces, relief: Relief) -> None:
    half, deep, low, high = relief.width / 2, relief.depth, relief.z, relief.z + relief.height
    edges = np.linspace(-half, half, max(round(relief.width / 0.45), 2) + 1).tolist()
    for index, (left, right) in enumerate(itertools.pairwise(edges)):
        paint = relief.second if index % 2 else relief.colour
        faces.both([(0, left, high), (deep, left, low + 0.22), (deep, right, low + 0.22), (0, right, high)], paint)
        faces.upright((deep, left), (deep, right), low, low + 0.22, shade(paint, 0.95))
    for side in (-half, half):
        faces.both([(0, side, high), (deep, side, low + 0.22), (0, side, low + 0.22)], shade(relief.colour, 0.8))


def _canopy(faces: Faces, relief: Relief) -> None:
    half = relief.width / 2
    faces.box(0.05, -half, relief.z, relief.depth, half, relief.z + relief.height, relief.colour)


def _blade(faces: Faces, relief: Relief) -> None:
    half, deep, low, tall = relief.width / 2, relief.depth + 0.2, relief.z, relief.height
    faces.box(0.2, -half, low, deep, half, low + tall, relief.colour)
    size = 0.22 * min(relief.depth, tall)
    for side in (-half - 0.01, half + 0.01):
        a, b = low + 0.12 * tall, low + 0.88 * tall
        faces.both(
            [(0.3, side, a), (deep - 0.1, side, a), (deep - 0.1, side, b), (0.3, side, b)], relief.second, layer=1
        )
        angles = np.linspace(0, 2 * np.pi, 9)[:-1].tolist()
        spot = [(0.1 + deep / 2 + size * np.cos(t), side, (a + b) / 2 + size * np.sin(t)) for t in angles]
        faces.both(spot, relief.colour, layer=2)


def _balcony(faces: Faces, relief: Relief) -> None:
    half, deep, low, high = relief.width / 2, relief.depth, relief.z, relief.z + relief.height
    paint = {"glass": (168, 190, 196), "slab": relief.colour, "stone": shade(relief.second, 0.95)}.get(
        relief.kind, IRON
    )
    faces.box(0, -half, low - 0.14, deep, half, low, relief.second if relief.kind == "stone" else SLAB)
    ends = ((0.0, -half), (deep, -half), (deep, half), (0.0, half))
    rails = ((low + 0.02, low + 0.07), (high - 0.06, high)) if relief.kind == "iron" else ((low, high),)
    for start, end in itertools.pairwise(ends):
        for bottom, top in rails:
            faces.upright(start, end, bottom, top, paint)
    if relief.kind == "iron":
        for side in np.linspace(-half, half - 0.03, max(round(relief.width / 0.26), 2)).tolist():
            faces.upright((deep, side), (deep, side + 0.03), low, high, IRON)
