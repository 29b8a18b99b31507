"""The common row of all sources: one picture that a service offers, before it is downloaded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture with position, licence and author. What a service does not say is None."""

    id: str
    """Unique within the source."""
    source: str
    latitude: float
    longitude: float
    heading: float | None = None
    """Where the middle of the picture looks, degrees clockwise from north, 0 to 360."""
    timestamp: str | None = None
    """ISO 8601."""
    width: int | None = None
    height: int | None = None
    is_panorama: bool = False
    """Whether it is equirectangular and goes all around; then it is cut into views."""
    pitch: float | None = None
    """Of a panorama's camera in degrees, positive where it looked up."""
    roll: float | None = None
    """Of a panorama's camera in degrees, positive where its right side was lower."""
    field_of_view: float | None = None
    """Across, in degrees."""
    sequence: str | None = None
    image_url: str
    size: int | None = None
    """Bytes of the file, where known."""
    licence: str
    licence_url: str | None = None
    author: str
    page_url: str | None = None
    """Where people find the picture."""

    @property
    def key(self) -> str:
        """What names the picture among those of all sources."""
        return f"{self.source}:{self.id}"


def normalise_heading(value: object) -> float | None:
    """Return an angle of a service as a heading from 0 to 360; services give more than 360, or nothing."""
    return float(value) % 360 if isinstance(value, int | float) else None
