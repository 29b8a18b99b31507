"""Mapillary, street-level pictures by volunteers (interface: https://www.mapillary.com/developer/api-documentation).

It needs a free token. A box must be smaller than 0.01 degrees, is not paged, and is refused where it holds too much,
whatever the limit: in the middle of large cities even boxes of 25 metres. There the tiles of Mapillary's map name the
pictures. Addresses of pictures are signed and expire.
"""

from __future__ import annotations

import math
import os
from datetime import datetime, timezone
from typing import Any, ClassVar
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from progeo.errors import ProgeoError
from progeo.imagery.area import Box
from progeo.imagery.client import BusyError, Client, DeniedError, FetchError, TooMuchError
from progeo.imagery.picture import Picture, normalise_heading
from progeo.imagery.sources.source import Found, Source
from progeo.imagery.sources.tiles import list_tiles, read_points
from progeo.imagery.views import find_tilt

TOKEN = "MAPILLARY_TOKEN"
LIMIT = 2000
DENSE = 150.0
"""Metres: where a box so small is refused, smaller ones hardly help, and tiles are asked instead."""
ZOOM, LAYER = 14, "image"
TRIES_OF_TILES = 3
"""Where a tile is missing: some are found a second later."""
MOST_IDS = 50
"""Pictures that are described by one answer."""
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
    tiles: ClassVar[str] = "https://tiles.mapillary.com/maps/vtp/mly1_public/2"

    def __init__(self, address: str | None = None) -> None:
        """Take the token from the environment."""
        super().__init__(address)
        self.token = os.environ.get(TOKEN, "").strip() or None
        if self.token is None:
            raise ProgeoError(
                f"Mapillary needs a token, which is free: make a client token at "
                f"https://www.mapillary.com/dashboard/developers and put it into the environment variable {TOKEN}."
            )
        self._points: dict[tuple[int, int], tuple[list[str], NDArray[np.float64]]] = {}

    def search(self, client: Client, box: Box) -> Found:
        """Ask for a box; there are no pages. Where it is too dense, ask for the pictures that tiles show in it."""
        try:
            answer = self._ask(client, "/images", {"fields": FIELDS, "bbox": box.format(), "limit": str(LIMIT)})
        except TooMuchError:
            if box.height_metres > DENSE:
                raise
            return self._search_tiles(client, box)
        rows = answer.get("data")
        if not isinstance(rows, list):
            raise FetchError("Mapillary answered without data.", "unexpected JSON")
        return self._read(rows, complete=len(rows) < LIMIT)

    def _search_tiles(self, client: Client, box: Box) -> Found:
        ids: list[str] = []
        for column, row in list_tiles(box, ZOOM):
            names, places = self._fetch_tile(client, column, row)
            outside = np.any((places < [box.west, box.south]) | (places > [box.east, box.north]), axis=1)
            ids += [name for name, is_outside in zip(names, outside, strict=True) if not is_outside]
        ids = list(dict.fromkeys(ids))  # tiles overlap
        rows: list[Any] = []
        for start in range(0, len(ids), MOST_IDS):
            rows += self._ask(client, "/", {"ids": ",".join(ids[start : start + MOST_IDS]), "fields": FIELDS}).values()
        return self._read(rows)

    def _fetch_tile(self, client: Client, column: int, row: int) -> tuple[list[str], NDArray[np.float64]]:
        """Return the ids of the pictures of a tile, and their longitudes and latitudes (P, 2)."""
        if (column, row) not in self._points:
            assert self.token is not None
            # Tiles take the token in the address alone, which is told to nobody: see the client.
            address = f"{self.tiles}/{ZOOM}/{column}/{row}?access_token={quote(self.token, safe='')}"
            for attempt in range(1, TRIES_OF_TILES + 1):
                try:
                    content = client.download(address)
                    break
                except BusyError:
                    raise
                except FetchError as error:
                    if error.reason == "status 404" and attempt < TRIES_OF_TILES:
                        continue
                    raise BusyError(
                        f"Mapillary does not give the map that names its pictures here ({error}) Where it was asked "
                        "too often it leads to a log-in page for a while. Please run the same command later: what is "
                        "there stays.",
                        error.reason,
                    ) from error
            try:
                points = read_points(content, LAYER, column, row, ZOOM)
            except ValueError as error:
                raise FetchError(f"Mapillary gives a map that cannot be read: {error}.", "a damaged map") from error
            self._points[column, row] = [*points], np.array([*points.values()], float).reshape(-1, 2)
        return self._points[column, row]

    def _read(self, rows: list[Any], *, complete: bool = True) -> Found:
        found = Found(complete=complete)
        for row in rows:
            if not isinstance(row, dict):
                continue
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
