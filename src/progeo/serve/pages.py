"""The two pages that are written by the server: the map, and the reference of the HTTP interface."""

from __future__ import annotations

import json
from typing import Any

from progeo.html.pages import render_page


def render_map(tiles: str | None, attribution: str, max_megabytes: float, local_frame: bool, compares: bool) -> str:
    """Return the web page, with what its script must know; ``compares``: whether details of photos can be compared."""
    street_map = tiles and {"address": tiles, "attribution": attribution}
    settings = {"tiles": street_map, "maxMegabytes": max_megabytes, "localFrame": local_frame, "compares": compares}
    return render_page(
        "serve/templates/index.html", settings=json.dumps(settings), local_frame=local_frame, compares=compares
    )


def render_reference(description: dict[str, Any]) -> str:
    """Return the page at /docs from an OpenAPI description.

    It is plain HTML because the usual viewers are either fetched from elsewhere, which an offline service cannot do,
    or two megabytes of script to ship and to keep free of holes, for a handful of requests.
    """
    schemas = dict(description["components"]["schemas"])
    operations = []
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            fields = [
                {**parameter["schema"], **parameter, "required": parameter.get("required", False)}
                for parameter in operation.get("parameters", ())
            ]
            for content in operation.get("requestBody", {}).get("content", {}).values():
                form = schemas.pop(content["schema"]["$ref"].rpartition("/")[2])
                fields += [
                    {"name": name, "in": "form", "required": name in form["required"], "schema": field, **field}
                    for name, field in form["properties"].items()
                ]
            operations.append({"method": method.upper(), "path": path, "fields": fields, **operation})
    return render_page(
        "serve/templates/reference.html", info=description["info"], operations=operations, schemas=schemas
    )
