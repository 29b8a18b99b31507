"""What is known of a photo before it is looked at, as a condition on the photos of the database."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date

from progeo.errors import ProgeoError

HEADING_TOLERANCE = 45.0
METRES_PER_DEGREE = 111_195.0


class NoPhotoFitsError(ProgeoError):
    """No photo of the database agrees with what is known."""


@dataclass(frozen=True)
class Prior:
    """Knowledge that narrows the search. What a photo of the database does not say is not held against it."""

    near: tuple[float, float] | None = None
    """Latitude and longitude in degrees, or x and y in a local frame; the place lies ``within`` metres of it."""
    within: float | None = None
    heading: float | None = None
    """Degrees clockwise from north in which the camera looked, right to 45 degrees."""
    after: date | None = None
    """First day on which the photos to compare with may have been taken."""
    before: date | None = None
    """Last such day."""
    local_frame: bool = False
    """Whether ``near`` is x and y in metres of a local frame."""

    def __post_init__(self) -> None:
        """Check the values."""
        if (self.near is None) != (self.within is None):
            raise ProgeoError("`near` LAT,LON and `within` METRES belong together: please give both or neither.")
        if self.near is not None and self.local_frame and not all(map(math.isfinite, self.near)):
            raise ProgeoError(f"`near` {self.near[0]},{self.near[1]}: x and y must be finite numbers of metres.")
        if (
            self.near is not None
            and not self.local_frame
            and not (abs(self.near[0]) <= 90 and abs(self.near[1]) <= 180)
        ):
            raise ProgeoError(
                f"`near` {self.near[0]},{self.near[1]} is no place on earth: first the latitude, from -90 to 90, then "
                "the longitude, from -180 to 180."
            )
        if self.within is not None and not 0 < self.within < math.inf:
            raise ProgeoError(f"`within` must be a number of metres above 0, not {self.within:g}.")
        if self.heading is not None and not math.isfinite(self.heading):
            raise ProgeoError(f"`heading` must be a number of degrees clockwise from north, not {self.heading}.")
        if self.after is not None and self.before is not None and self.after > self.before:
            raise ProgeoError(f"`after` {self.after} comes later than `before` {self.before}; no photo is both.")

    def to_filter(self) -> str | None:
        """Return the SQL condition on the columns of the place database, or None if nothing is known."""
        conditions = []
        if self.near is not None and self.within is not None and self.local_frame:
            x, y = map(float, self.near)
            conditions.append(f"power(x - ({x!r}), 2) + power(y - ({y!r}), 2) <= {float(self.within) ** 2!r}")
        elif self.near is not None and self.within is not None:
            latitude, longitude = map(float, self.near)  # numbers of NumPy are written in another way
            # On a sphere, as a flat square root of squares would be wrong near the poles and at the date line.
            half_chord = math.sin(min(self.within / METRES_PER_DEGREE, 180) / 2 * math.pi / 180)
            conditions.append(
                f"power(sin(radians(latitude - ({latitude!r})) / 2), 2) + {math.cos(math.radians(latitude))!r} * "
                f"cos(radians(latitude)) * power(sin(radians(longitude - ({longitude!r})) / 2), 2) "
                f"<= {half_chord**2!r}"
            )
        if self.heading is not None:
            turn = f"abs((heading - ({float(self.heading) % 360!r}) + 540.0) % 360.0 - 180.0)"
            conditions.append(f"(heading IS NULL OR {turn} <= {HEADING_TOLERANCE})")
        if self.after is not None:
            conditions.append(f"(timestamp IS NULL OR timestamp >= timestamp '{self.after} 00:00:00')")
        if self.before is not None:
            conditions.append(f"(timestamp IS NULL OR timestamp <= timestamp '{self.before} 23:59:59')")
        return " AND ".join(conditions) or None

    def describe(self) -> str:
        """Return what is known in words, for messages."""
        known = []
        if self.near is not None:
            known.append(f"within {self.within:g} m of {self.near[0]:g}, {self.near[1]:g}")
        if self.heading is not None:
            known.append(f"looking towards {self.heading:g} degrees")
        if self.after is not None:
            known.append(f"taken on {self.after} or later")
        if self.before is not None:
            known.append(f"taken on {self.before} or earlier")
        return ", ".join(known)
