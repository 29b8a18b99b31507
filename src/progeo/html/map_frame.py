"""Where positions come to stand on a drawn map, to scale."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from progeo.search.exact import Floats

WIDTH, MARGIN, FOOTER = 720.0, 14.0, 36.0
"""Of every map, in units of its view box; the footer holds the scale bar."""
HIGHEST, LOWEST = 460.0, 120.0


@dataclass(frozen=True, eq=False)
class MapFrame:
    """The stretch of ground that a map shows: its middle (2,) in metres, its scale, and its height in units."""

    middle: Floats
    metres_per_unit: float
    inner_height: float

    @classmethod
    def around(cls, positions: Floats, metres: float) -> MapFrame:
        """Return the frame that holds positions (P, d), east and north in metres first, with some more round.

        These also give a map to a set whose images all stand at one place.
        """
        low, high = positions.min(axis=0) - metres, positions.max(axis=0) + metres
        metres_per_unit = float(max((high[0] - low[0]) / (WIDTH - 2 * MARGIN), (high[1] - low[1]) / HIGHEST))
        return cls((low + high) / 2, metres_per_unit, max(float(high[1] - low[1]) / metres_per_unit, LOWEST))

    @property
    def height(self) -> float:
        """Height of the map in units."""
        return round(self.inner_height + 2 * MARGIN + FOOTER, 1)

    def place(self, positions: Floats) -> Floats:
        """Return where positions (P, d) are drawn, x to the east and y to the south, in units."""
        units = (positions - self.middle) / self.metres_per_unit
        return np.stack([WIDTH / 2 + units[:, 0], MARGIN + self.inner_height / 2 - units[:, 1]], axis=1).round(1)

    def scale_bar(self) -> tuple[float, str]:
        """Return the length in units, and the label, of a bar of 1, 2 or 5 times a power of ten metres."""
        longest = (WIDTH - 2 * MARGIN) * self.metres_per_unit / 4
        power = 10.0 ** math.floor(math.log10(longest))
        metres = max(factor * power for factor in (1, 2, 5) if factor * power <= longest)
        label = f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"
        return round(metres / self.metres_per_unit, 1), label


def draw_dots(places: Floats) -> str:
    """Return places (P, 2) as the path of an SVG whose round line ends make dots of them."""
    return "".join(f"M{x:.0f} {y:.0f}h0" for x, y in places.tolist())
