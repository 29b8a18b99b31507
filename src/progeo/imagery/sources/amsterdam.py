"""The panoramas of the city of Amsterdam (interface: https://api.data.amsterdam.nl/v1/docs, without a token).

About a million frames of 360 degrees, level and with north in the middle. The newest ones alone are given for boxes of
at most a quarter of a square kilometre.
"""

from __future__ import annotations

from typing import Any

from progeo.imagery.area import Box
from progeo.imagery.client import Client, FetchError
from progeo.imagery.picture import Picture, normalise_heading
from progeo.imagery.sources.source import Found, Source

PAGE_SIZE = 2000
MOST_PAGES = 100
# 4000 pixels wide is what views of 512 need; the others where it is missing.
SIZES = {"equirectangular_medium": 4000, "equirectangular_full": 8000, "equirectangular_small": 2000}


class Amsterdam(Source):
    """All panoramas are CC BY 4.0."""

    name = "amsterdam"
    title = "Amsterdam's panoramas"
    home = "https://api.data.amsterdam.nl/panorama"
    hosts = (".data.amsterdam.nl", ".amsterdam.nl")
    largest_box = 0.0
    largest_box_metres = 490.0

    def search(self, client: Client, box: Box) -> Found:
        """Ask for a box and follow its pages."""
        question: dict[str, str] | None = {
            **{"bbox": box.format(), "srid": "4326", "newest_in_range": "true"},
            "page_size": str(PAGE_SIZE),
        }
        found, address = Found(), f"{self.address}/panoramas/"
        for _ in range(MOST_PAGES):
            answer = client.ask(address, question)
            rows = (answer.get("_embedded") or {}).get("panoramas")
            if not isinstance(rows, list):
                raise FetchError("Amsterdam's panoramas: the answer holds none.", "unexpected JSON")
            for row in rows:
                if not isinstance(row, dict):
                    continue
                picture = _read_picture(row)
                if isinstance(picture, str):
                    found.left_out[str(row.get("pano_id"))] = picture
                else:
                    found.pictures.append(picture)
            address, question = ((answer.get("_links") or {}).get("next") or {}).get("href") or "", None
            if not address or not rows:
                return found
        found.complete = False
        return found


def _read_picture(row: dict[str, Any]) -> Picture | str:
    """Return a panorama, or why it cannot be used."""
    try:
        longitude, latitude = row["geometry"]["coordinates"][:2]
        files = {name: (row["_links"].get(name) or {}).get("href") for name in SIZES}
        name = next(name for name in SIZES if files[name])
        return Picture(
            id=str(row["pano_id"]),
            source="amsterdam",
            latitude=float(latitude),
            longitude=float(longitude),
            heading=normalise_heading(row.get("heading") or 0.0),
            timestamp=row.get("timestamp"),
            width=SIZES[name],
            height=SIZES[name] // 2,
            is_panorama=True,
            pitch=row.get("pitch"),
            roll=row.get("roll"),
            field_of_view=360.0,
            sequence=str(row["pano_id"]).partition("_pano_")[0],
            image_url=str(files[name]),
            licence="CC-BY-4.0",
            licence_url="https://creativecommons.org/licenses/by/4.0/",
            author="Gemeente Amsterdam",
            page_url=row["_links"].get("self", {}).get("href"),
        )
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration):
        return "incomplete description"
