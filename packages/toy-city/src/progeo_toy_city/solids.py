"""Things with volume, made of flat faces; among them street furniture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from progeo_toy_city.materials import Colour, shade

Corner = tuple[float, float, float]
PANELS: list[Colour] = [(22, 48, 92), (120, 26, 30), (196, 160, 60), (20, 110, 110), (200, 80, 50), (60, 120, 60)]


@dataclass(frozen=True)
class Solid:
    """A thing of faces: corners ``(V, 3)`` in metres (forwards, left, up), and at which corner each face starts.

    By face: ``colours``, outward ``normals``, ``glow`` (what it gives off at night) and ``layers`` (a face lies on
    those of a lower layer). ``shadow`` is length and width of the dark patch beneath, zero for none; ``reach`` the
    largest distance of a corner from the middle, seen from above.
    """

    corners: NDArray[np.float64]
    starts: NDArray[np.int64]
    colours: NDArray[np.float64]
    normals: NDArray[np.float64]
    glow: NDArray[np.float64]
    layers: NDArray[np.int64]
    shadow: tuple[float, float]
    reach: float


class Faces:
    """Faces as they are added; edges are cut into short pieces because straight edges bend in a panorama."""

    def __init__(self) -> None:
        """Begin with no face."""
        self._corners: list[list[Corner]] = []
        self._colours: list[Colour] = []
        self._normals: list[Corner] = []
        self._glow: list[Colour] = []
        self._layers: list[int] = []

    def face(self, corners: list[Corner], colour: Colour, glow: Colour = (0, 0, 0), layer: int = 0) -> None:
        """Add a face; its corners go counterclockwise as seen from outside."""
        normal = [0.0, 0.0, 0.0]
        pieces: list[Corner] = []
        for (ax, ay, az), (bx, by, bz) in zip(corners, [*corners[1:], corners[0]], strict=True):
            normal[0] += ay * bz - az * by
            normal[1] += az * bx - ax * bz
            normal[2] += ax * by - ay * bx
            cuts = int(math.dist((ax, ay, az), (bx, by, bz)) / 0.8) + 1
            for cut in range(cuts):
                share = cut / cuts
                pieces.append((ax + (bx - ax) * share, ay + (by - ay) * share, az + (bz - az) * share))
        size = max(math.hypot(*normal), 1e-9)
        self._corners.append(pieces)
        self._normals.append((normal[0] / size, normal[1] / size, normal[2] / size))
        self._colours.append(colour)
        self._glow.append(glow)
        self._layers.append(layer)

    def both(self, corners: list[Corner], colour: Colour, layer: int = 0) -> None:
        """Add a thin face that is seen from both sides."""
        self.face(corners, colour, layer=layer)
        self.face(corners[::-1], colour, layer=layer)

    def upright(
        self, start: tuple[float, float], end: tuple[float, float], z0: float, z1: float, colour: Colour
    ) -> None:
        """Add a thin upright rectangle between two points (forwards, left), seen from both sides."""
        self.both([(*start, z0), (*end, z0), (*end, z1), (*start, z1)], colour)

    def box(self, x0: float, y0: float, z0: float, x1: float, y1: float, z1: float, colour: Colour) -> None:
        """Add the six faces of a box."""
        a, b, c, d = (x0, y0), (x1, y0), (x1, y1), (x0, y1)
        self.face([(*a, z1), (*b, z1), (*c, z1), (*d, z1)], colour)
        self.face([(*d, z0), (*c, z0), (*b, z0), (*a, z0)], shade(colour, 0.6))
        for (px, py), (qx, qy) in ((a, b), (b, c), (c, d), (d, a)):
            self.face([(px, py, z0), (qx, qy, z0), (qx, qy, z1), (px, py, z1)], colour)

    def solid(self, shadow: tuple[float, float] = (0.0, 0.0)) -> Solid:
        """Return the thing."""
        corners = np.concatenate([np.array(part) for part in self._corners])
        return Solid(
            corners=corners,
            starts=np.cumsum([0, *(len(part) for part in self._corners)]),
            colours=np.array(self._colours, np.float64),
            normals=np.array(self._normals),
            glow=np.array(self._glow, np.float64),
            layers=np.array(self._layers),
            shadow=shadow,
            reach=float(np.hypot(corners[:, 0], corners[:, 1]).max()),
        )


@lru_cache(maxsize=64)
def furniture(kind: str, variant: int) -> Solid:
    """Return a bench, planter or bus shelter (``kind``); it looks along its x axis."""
    return _FURNITURE[kind](variant)


def _bench(variant: int) -> Solid:
    faces = Faces()
    wood = shade((132, 92, 56), 0.8 + 0.1 * (variant % 4))
    for y in (-0.7, 0.6):
        faces.box(-0.25, y, 0, 0.2, y + 0.1, 0.42, (60, 62, 64))
    faces.box(-0.25, -0.85, 0.42, 0.25, 0.85, 0.48, wood)
    faces.box(-0.3, -0.85, 0.6, -0.25, 0.85, 0.9, wood)
    return faces.solid((0.6, 1.8))


def _planter(variant: int) -> Solid:
    faces, rng = Faces(), np.random.default_rng(variant)
    tubs: list[Colour] = [(120, 116, 110), (110, 80, 60), (70, 74, 80)]
    leaves: list[Colour] = [(66, 100, 48), (90, 120, 60), (160, 70, 90)]
    faces.box(-0.35, -0.7, 0, 0.35, 0.7, 0.5, tubs[variant % 3])
    for _ in range(7):
        x, y = rng.uniform(-0.28, 0.1), rng.uniform(-0.65, 0.4)
        faces.box(x, y, 0.5, x + 0.22, y + 0.26, rng.uniform(0.6, 0.95), leaves[rng.integers(3)])
    return faces.solid((0.8, 1.5))


def _shelter(variant: int) -> Solid:
    faces = Faces()
    steel: Colour = (84, 90, 96)
    for x, y in ((-0.6, -1.8), (-0.6, 1.74), (0.6, -1.8), (0.6, 1.74)):
        faces.box(x, y, 0, x + 0.06, y + 0.06, 2.4, steel)
    faces.upright((-0.58, 1.8), (-0.58, -1.8), 0.3, 2.2, (150, 168, 174))
    faces.upright((-0.55, 1.78), (0.5, 1.78), 0.4, 2.1, PANELS[variant % len(PANELS)])
    faces.box(-0.3, -1.4, 0.42, 0.05, 1.0, 0.5, (150, 110, 70))
    faces.box(-0.8, -2.0, 2.4, 0.9, 2.0, 2.52, steel)
    return faces.solid((1.6, 3.8))


_FURNITURE = {"bench": _bench, "planter": _planter, "shelter": _shelter}
