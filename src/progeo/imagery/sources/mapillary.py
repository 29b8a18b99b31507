"""Mapillary, street-level pictures by volunteers (interface: https://www.mapillary.com/developer/api-documentation).

It needs a free token. A box must be smaller than 0.01 degrees, is not paged, and is refused where it holds too much,
whatever the limit. Addresses of pictures are signed and expire.
"""

from __future__ import annotations

import math
import os
from datetime import datetime, timezone
from typing import Any

from progeo.errors import ProgeoError
from progeo.imagery.area import Box
from progeo.imagery.client import Client, DeniedError, FetchError
from progeo.imagery.picture import Picture, normalise_heading
from progeo.imagery.sources.source import Found, Source
from progeo.imagery.views import find_tilt

TOKEN = "MAPILLARY_TOKEN"
LIMIT = 2000
FIELDS = (
    "id,geometry,computed_geometry,compass_angle,computed_compass_angle,computed_rotation,captured_at,width,height,"
    "is_pano,camera_type,camera_parameters,sequence,creator,thumb_2048_url,thumb_original_url"
)
LICENCE, LICENCE_URL = "CC-BY-SA-4.0", "https://creativecommons.org/licenses/by-sa/4.0/"


class Mapillary(Source):
    """All pictures are CC BY-SA 4.0."""

    name = "mapillary"
    title = "Mapillary"
    home = "https://graph.mapillary.com"
    hosts = (".mapillary.com", ".fbcdn.net")
    largest_box = 0.009

    def __init__(self, address: str | None = None) -> None:
        """Take the token from the environment."""
        super().__init__(address)
        self.token = os.environ.get(TOKEN, "").strip() or None
        if self.token is None:
            raise ProgeoError(
                f"Mapillary needs a token, which is free: make a client token at "
                f"https://www.mapillary.com/dashboard/developers and put it into the environment variable {TOKEN}."
            )

    def search(self, client: Client, box: Box) -> Found:
        """Ask for a box; there are no pages."""
        answer = self._ask(client, "/images", {"fields": FIELDS, "bbox": box.format(), "limit": str(LIMIT)})
        rows = answer.get("data")
        if not isinstance(rows, list):
            raise FetchError("Mapillary answered without data.", "unexpected JSON")
        found = Found(complete=len(rows) < LIMIT)
        for row in rows:
            picture = _read_picture(row)
            if isinstance(picture, str):
                found.left_out[str(row.get("id"))] = picture
            else:
                found.pictures.append(picture)
        return found

    def renew(self, client: Client, picture: Picture) -> Picture:
        """Ask for a picture again."""
        renewed = _read_picture(self._ask(client, f"/{picture.id}", {"fields": FIELDS}))
        return picture if isinstance(renewed, str) else renewed

    def _ask(self, client: Client, path: str, question: dict[str, str]) -> dict[str, Any]:
        # In the header, since addresses are shown in messages and logs of others.
        try:
            return client.ask(self.address + path, question, {"Authorization": f"OAuth {self.token}"})
        except DeniedError as error:
            raise ProgeoError(
                f"{error} Is the token in the environment variable {TOKEN} still valid? "
                "https://www.mapillary.com/dashboard/developers shows it."
            ) from error


def _read_picture(row: dict[str, Any]) -> Picture | str:
    """Return a picture, or why it cannot be used."""
    try:
        kind, is_panorama = row.get("camera_type") or "", bool(row.get("is_pano"))
        if kind == "fisheye":
            return "fisheye"
        width, height = row.get("width"), row.get("height")
        if is_panorama and width and height and abs(width - 2 * height) > 2:
            return "a panorama that is cropped"
        # What comes from reconstruction is better, and may be missing.
        longitude, latitude = (row.get("computed_geometry") or row["geometry"])["coordinates"][:2]
        heading = row.get("computed_compass_angle", row.get("compass_angle"))
        rotation, lens = row.get("computed_rotation"), row.get("camera_parameters") or []
        pitch, roll = find_tilt(tuple(rotation)) if is_panorama and rotation and len(rotation) == 3 else (None, None)
        flat_view = math.degrees(2 * math.atan(0.5 / lens[0])) if lens and lens[0] and not is_panorama else None
        address = row.get("thumb_original_url") if is_panorama else row.get("thumb_2048_url")
        moment = row.get("captured_at")
        return Picture(
            id=str(row["id"]),
            source="mapillary",
            latitude=float(latitude),
            longitude=float(longitude),
            heading=normalise_heading(heading),
            timestamp=None
            if moment is None
            else datetime.fromtimestamp(moment / 1000, timezone.utc).isoformat(timespec="milliseconds"),
            width=width,
            height=height,
            is_panorama=is_panorama,
            pitch=pitch,
            roll=roll,
            field_of_view=360.0 if is_panorama else flat_view,
            sequence=row.get("sequence"),
            image_url=address or row.get("thumb_original_url") or row["thumb_2048_url"],
            licence=LICENCE,
            licence_url=LICENCE_URL,
            author=(row.get("creator") or {}).get("username") or "Mapillary contributor",
            page_url=f"https://www.mapillary.com/app/?pKey={row['id']}&focus=photo",
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return "incomplete description"
