"""Wikimedia Commons: photos of landmarks more than of streets (interface: https://www.mediawiki.org/wiki/API).

Positions may be those of what is shown instead of the camera. Errors come with status 200. Thumbnails exist in a few
widths only. Since 2026 a contact in the User-Agent is required.
"""

from __future__ import annotations

import html
import re
from typing import Any

from progeo.errors import ProgeoError
from progeo.imagery.area import Box
from progeo.imagery.client import Client, FetchError, TooMuchError
from progeo.imagery.picture import Picture, normalise_heading
from progeo.imagery.sources.source import Found, Source

LIMIT = 500
MOST_PAGES = 100
WIDTH = 1280
"""Of the files that are taken; another width than 20, 40, 60, 120, 250, 330, 500, 960, 1280, 1920, 3840 is refused."""
OPEN = r"cc0|pd|cc-by(-sa)?-\d.*|cc-by(-sa)?"
QUESTION = {
    **{"action": "query", "format": "json", "formatversion": "2", "maxlag": "5"},
    **{"generator": "geosearch", "ggsnamespace": "6", "ggsprimary": "all", "ggslimit": str(LIMIT)},
    **{"prop": "coordinates|imageinfo", "coprimary": "all", "colimit": "max"},
    **{"iiprop": "url|size|mime|timestamp|user|extmetadata|metadata", "iiurlwidth": str(WIDTH)},
    "iiextmetadatafilter": "Artist|LicenseShortName|LicenseUrl|License|AttributionRequired|Attribution|Credit|"
    "DateTimeOriginal",
}


class Commons(Source):
    """Licences differ from file to file; only CC BY, CC BY-SA, CC0 and public domain are taken."""

    name = "commons"
    title = "Wikimedia Commons"
    home = "https://commons.wikimedia.org/w/api.php"
    hosts = (".wikimedia.org",)
    largest_box = 0.1

    def search(self, client: Client, box: Box) -> Found:
        """Ask for a box; the properties of its pictures come in parts, the pictures themselves do not."""
        corners = "|".join(f"{value:.7f}" for value in (box.north, box.west, box.south, box.east))
        going_on: dict[str, str] = {}
        pages: dict[Any, dict[str, Any]] = {}
        for _ in range(MOST_PAGES):
            answer = client.ask(self.address, {**QUESTION, "ggsbbox": corners, **going_on})
            if "error" in answer:
                self._refuse(answer["error"])
            for page in (answer.get("query") or {}).get("pages") or []:
                if isinstance(page, dict):
                    pages.setdefault(page.get("pageid"), {}).update(page)
            going_on = {name: str(value) for name, value in (answer.get("continue") or {}).items()}
            if not going_on:
                break
        found = Found(complete=len(pages) < LIMIT)
        for number, page in pages.items():
            picture = _read_picture(page)
            if isinstance(picture, str):
                found.left_out[str(number)] = picture
            else:
                found.pictures.append(picture)
        return found

    def _refuse(self, error: dict[str, Any]) -> None:
        code, text = error.get("code"), error.get("info", "")
        if code == "toobig":
            raise TooMuchError(f"Wikimedia Commons: {text}", "too large a box")
        if code in ("maxlag", "ratelimited"):
            raise ProgeoError(f"Wikimedia Commons is busy ({text}). Please run the same command later.")
        raise FetchError(f"Wikimedia Commons refuses the question: {code}, {text}", str(code))


def _read_picture(page: dict[str, Any]) -> Picture | str:
    """Return a picture, or why it cannot be used."""
    try:
        (info, *_), (place, *_) = page["imageinfo"], page["coordinates"]
        if info["mime"] not in ("image/jpeg", "image/png", "image/webp"):
            return f"no photo ({info['mime']})"
        said = {name: _strip(entry.get("value", "")) for name, entry in info["extmetadata"].items()}
        licence = said.get("License", "").lower()
        if not re.fullmatch(OPEN, licence):
            return f"licence {said.get('LicenseShortName') or licence or 'unknown'}"
        headings = [tag["value"] for tag in info.get("metadata") or [] if tag.get("name") == "GPSImgDirection"]
        shrunk = bool(info.get("thumburl")) and info["width"] > WIDTH
        return Picture(
            id=str(page["pageid"]),
            source="commons",
            latitude=float(place["lat"]),
            longitude=float(place["lon"]),
            heading=normalise_heading(_read_number(headings[0])) if headings else None,
            timestamp=_read_time(said.get("DateTimeOriginal", "")) or info.get("timestamp"),
            width=info["thumbwidth"] if shrunk else info["width"],
            height=info["thumbheight"] if shrunk else info["height"],
            image_url=info["thumburl"] if shrunk else info["url"],
            size=None if shrunk else info.get("size"),
            licence=said.get("LicenseShortName") or licence,
            licence_url=said.get("LicenseUrl") or None,
            author=said.get("Attribution") or said.get("Artist") or info.get("user") or "unknown",
            page_url=info["descriptionurl"],
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return "incomplete description"


def _strip(text: Any) -> str:
    """Return a text without its HTML."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", str(text))).split())


def _read_number(text: Any) -> float | None:
    """Return a number, which may be written as a fraction."""
    top, _, bottom = str(text).partition("/")
    try:
        return float(top) / float(bottom or 1)
    except (ValueError, ZeroDivisionError):
        return None


def _read_time(text: str) -> str | None:
    """Return a time where it is one: people write anything there."""
    return text if re.match(r"\d{4}-\d\d-\d\d", text) else None
