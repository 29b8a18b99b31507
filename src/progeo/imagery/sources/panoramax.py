"""Panoramax, the federated open street-level pictures of IGN France, OpenStreetMap France and others.

Interface: https://docs.panoramax.fr (STAC). It needs no token. Instances do not page: an answer with as many pictures
as were asked for is cut off, and holds those nearest to the middle of the box.
"""

from __future__ import annotations

from typing import Any

from progeo.imagery.area import Box
from progeo.imagery.client import BusyError, Client, FetchError
from progeo.imagery.picture import Picture, normalise_heading
from progeo.imagery.sources.source import Found, Source

LIMIT = 1000
MOST_PAGES = 100
LICENCES = {
    "etalab-2.0": "https://www.etalab.gouv.fr/licence-ouverte-open-licence/",
    "CC-BY-SA-4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
}
PAGE = "https://api.panoramax.xyz/#focus=pic&pic="


class Panoramax(Source):
    """Licences are those of the instance that holds a picture."""

    name = "panoramax"
    title = "Panoramax"
    home = "https://api.panoramax.xyz/api"
    other = "https://explore.panoramax.fr/api"
    """The same catalogue, for when the first does not answer."""
    hosts = (".panoramax.xyz", ".panoramax.fr", ".panoramax.ign.fr", "panoramax.ign.fr", "panoramax.openstreetmap.fr")
    largest_box = 0.02

    def search(self, client: Client, box: Box) -> Found:
        """Ask for a box, and follow pages where there are any."""
        question = {"bbox": box.format(), "limit": str(LIMIT)}
        try:
            answer = client.ask(f"{self.address}/search", question)
        except BusyError:
            if self.address != self.home:
                raise
            self.address = self.other
            answer = client.ask(f"{self.address}/search", question)
        found = Found()
        for _ in range(MOST_PAGES):
            features = answer.get("features")
            if not isinstance(features, list):
                raise FetchError("Panoramax answered without features.", "unexpected JSON")
            for feature in features:
                self._read(feature, found)
            # Of the answer, not of a feature: there it is the neighbour in its sequence.
            following = [link.get("href") for link in answer.get("links") or [] if link.get("rel") == "next"]
            if not following or not features:
                found.complete = len(features) < LIMIT or bool(following)
                return found
            answer = client.ask(following[0])
        found.complete = False
        return found

    def _read(self, feature: dict[str, Any], found: Found) -> None:
        """Take a picture, or note why not."""
        try:
            picture = self._read_picture(feature)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            found.left_out[str(feature.get("id") if isinstance(feature, dict) else feature)] = "incomplete description"
            return
        if isinstance(picture, str):
            found.left_out[feature["id"]] = picture
        else:
            found.pictures.append(picture)

    def _read_picture(self, feature: dict[str, Any]) -> Picture | str:
        """Return a picture, or why it cannot be used."""
        properties, assets = feature["properties"], feature["assets"]
        longitude, latitude = feature["geometry"]["coordinates"][:2]
        if properties.get("geovisio:visibility", "anyone") != "anyone":
            return "not for everyone to see"
        if properties.get("geovisio:status", "ready") != "ready":
            return "still being processed"
        licence = properties.get("license") or "proprietary"
        if licence == "proprietary":
            return "no open licence"
        orientation = properties.get("pers:interior_orientation") or {}
        width, height = [*(orientation.get("sensor_array_dimensions") or []), None, None][:2]
        across = orientation.get("field_of_view")
        projection = (properties.get("exif") or {}).get("Xmp.GPano.ProjectionType")
        is_panorama = across == 360 or (across is None and projection == "equirectangular")
        if (orientation.get("visible_area") and is_panorama) or (is_panorama and width and abs(width - 2 * height) > 2):
            return "a panorama that is cropped"
        links = {link.get("rel"): link.get("href") for link in feature.get("links") or []}
        producers = [provider["name"] for provider in feature.get("providers") or [] if provider.get("name")]
        asset = assets["hd"] if is_panorama or "sd" not in assets else assets["sd"]
        return Picture(
            id=str(feature["id"]).lower(),
            source=self.name,
            latitude=float(latitude),
            longitude=float(longitude),
            heading=normalise_heading(properties.get("view:azimuth")),
            timestamp=properties.get("datetimetz") or properties.get("datetime"),
            width=width,
            height=height,
            is_panorama=is_panorama,
            pitch=properties.get("pers:pitch"),
            roll=properties.get("pers:roll"),
            field_of_view=across,
            sequence=feature.get("collection"),
            image_url=asset["href"],
            size=properties.get("original_file:size") if asset is assets["hd"] else None,
            licence=licence,
            licence_url=links.get("license") or LICENCES.get(licence),
            author=", ".join(producers) or properties.get("geovisio:producer") or "unknown",
            page_url=PAGE + str(feature["id"]).lower(),
        )
