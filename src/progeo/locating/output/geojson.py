"""Located photos as GeoJSON, which maps and geographic information systems read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TextIO

from progeo.locating.estimate import Located
from progeo.locating.output.json_output import dump, to_plain
from progeo.locating.output.marked import refuse_local_frame


def write_geojson(results: Sequence[Located], num_matches: int, file: TextIO | None = None) -> None:
    """Write the results, with the first matches of each, as a feature collection to a file or else to stdout."""
    dump({"type": "FeatureCollection", "features": [make_feature(result, num_matches) for result in results]}, file)


def make_feature(result: Located, num_matches: int) -> dict[str, Any]:
    """Return a result as a GeoJSON feature: the point of the estimate, none where it is not told, and properties.

    Raises:
        ProgeoError: the positions are of a local frame.
    """
    if result.estimate.is_local:
        raise refuse_local_frame("geojson")
    properties = to_plain(result, num_matches)
    coordinates = [properties.pop("longitude"), properties.pop("latitude")]
    return {
        "type": "Feature",
        "geometry": None if None in coordinates else {"type": "Point", "coordinates": coordinates},
        "properties": properties,
    }
