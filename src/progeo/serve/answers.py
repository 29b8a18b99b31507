"""The shapes of the service's answers, as its OpenAPI description shows them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from fastapi import HTTPException
from pydantic import BaseModel, Field

from progeo.data.frames import EARTH, LOCAL
from progeo.errors import ProgeoError
from progeo.pixels.decoding import NotAPhotoError, TooLargeError

if TYPE_CHECKING:
    from progeo.locating.estimate import Estimate


class CreditAnswer(BaseModel):
    """Whom to name for a photo that is somebody else's."""

    author: str
    licence: str
    licence_url: str | None
    page_url: str | None = Field(description="where the photo is, for people")
    source: str | None = Field(description="the service it comes from")


class MatchAnswer(BaseModel):
    """A photo of the database that looks like the query."""

    id: str = Field(description="what /api/photos/{id} takes")
    name: str = Field(description="file name")
    latitude: float | None = Field(description="degrees; null, like longitude, in a local frame")
    longitude: float | None
    x: float | None = Field(None, description="metres in the local frame of the database; null, like y, on the earth")
    y: float | None = None
    heading: float | None = Field(description="where the camera looks, degrees clockwise from north")
    timestamp: str | None = Field(description="when it was taken: ISO 8601, local time")
    descriptor_distance: float = Field(description="difference in looks; 0 is the same")
    distance_metres: float = Field(description="from the estimate")
    weight: float = Field(description="its share in the estimate, from 0 to 1")
    credit: CreditAnswer | None = Field(description="whom to name for it; null for photos of one's own")
    agreeing_points: int | None = Field(description="details of both photos that fit together; null without re-ranking")
    strength: float | None = Field(
        description="these as a multiple of what photos of different places hardly ever share; null without re-ranking"
    )


class PhotoAnswer(BaseModel):
    """Where one photo was taken."""

    name: str = Field(description="file name, as it was sent")
    known: bool | None = Field(
        description="false where the database probably does not show this place; null where it cannot tell"
    )
    latitude: float | None = Field(
        description="degrees; null, like longitude and radius, where known is not true and positions of unknown places "
        "are not asked for"
    )
    longitude: float | None
    x: float | None = Field(None, description="metres in a local frame, where latitude and longitude are null")
    y: float | None = None
    heading: float | None = Field(
        None,
        description="degrees clockwise from north: roughly, that of the match at this position; null where unknown",
    )
    radius_metres: float | None = Field(description="of the circle that holds the truth in 8 of 10 right answers")
    agreement: float = Field(description="share of the matches' votes within 25 metres, 0 to 1; no probability")
    probability: float | None = Field(
        description="that the truth lies within 25 metres; null where the database is not calibrated"
    )
    presence: float | None = Field(description="probability that the database shows this place at all, 0 to 1")
    calibrated: bool = Field(description="whether the database knows probabilities")
    calibration: Literal["queries", "database", "default"] | None = Field(
        description="what they were learned from: queries of known position, the database itself, or other towns"
    )
    knows_verification: bool | None = Field(
        description="false where the probability was fitted without verification, and the points that agree do not "
        "count in it; null where photos were not compared point by point"
    )
    matches: list[MatchAnswer] = Field(description="best first")


class LocateAnswer(BaseModel):
    """One answer per photo, in the order they were sent."""

    photos: list[PhotoAnswer]


class ComparisonAnswer(BaseModel):
    """Which details of two photos fit together."""

    count: int = Field(description="how many")
    floor: float | None = Field(description="how many hardly any two photos of different places share; null if unknown")
    text: str = Field(description="what that proves, in one sentence")
    query: list[tuple[float, float]] = Field(
        description="where some of them lie in the photo sent: shares of width and height, 0 to 1 from the upper left"
    )
    match: list[tuple[float, float]] = Field(description="where the same ones lie in the photo of the database")


class Point(BaseModel):
    """A GeoJSON point: longitude, latitude; in a local frame x and y in metres."""

    type: Literal["Point"]
    coordinates: tuple[float, float]


class PlaceProperties(BaseModel):
    """What stands at a point of the map."""

    id: str = Field(description="one of the photos; /api/photos/{id} shows it")
    count: int = Field(description="photos joined here")
    heading: float | None = Field(description="of a photo that stands alone, degrees clockwise from north")


class PlaceFeature(BaseModel):
    """A GeoJSON feature."""

    type: Literal["Feature"]
    geometry: Point
    properties: PlaceProperties


class PlacesAnswer(BaseModel):
    """A GeoJSON feature collection."""

    type: Literal["FeatureCollection"]
    bbox: tuple[float, float, float, float] = Field(description="of the whole database: west, south, east, north")
    total: int = Field(description="photos in the whole database")
    features: list[PlaceFeature]


class HealthAnswer(BaseModel):
    """The service is up."""

    status: Literal["ok"]
    version: str
    photos: int = Field(description="photos in the database")


class ReadyAnswer(BaseModel):
    """The service answers at full speed."""

    status: Literal["ready"]
    database_version: int = Field(description="of the photos")


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str = Field(description="one sentence for people")


def describe_estimate(name: str, estimate: Estimate) -> dict[str, Any]:
    """Return an estimate as ``PhotoAnswer``; of the paths on this machine only the file name leaves it."""
    nowhere: dict[str, Any] = dict.fromkeys((*EARTH, *LOCAL))
    answer = nowhere | estimate.to_dict()
    answer["matches"] = [nowhere | match for match in answer["matches"]]
    for match in answer["matches"]:
        match["name"] = match.pop("path").replace("\\", "/").rpartition("/")[2]
    return {"name": name, **answer}


def refuse_content(error: ProgeoError) -> HTTPException:
    """Return the refusal of what was sent; the library's arguments are fields of the form by the same names."""
    status = 413 if isinstance(error, TooLargeError) else 415 if isinstance(error, NotAPhotoError) else 422
    return HTTPException(status, re.sub(r"`(\w+)`", r"\1", str(error)))
