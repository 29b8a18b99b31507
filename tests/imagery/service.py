"""A local service that answers as the real ones do, and as they do not: made up from their documented schemas."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
from PIL import Image

Query = dict[str, str]


@dataclass
class Answer:
    """What the service sends."""

    content: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    """Before it is sent."""
    cut_at: int | None = None
    """Bytes after which the connection ends."""

    @property
    def body(self) -> bytes:
        if isinstance(self.content, bytes):
            return self.content
        return (self.content if isinstance(self.content, str) else json.dumps(self.content)).encode()


Route = Callable[[Query], Answer]


@dataclass
class Service:
    """Routes by path, and what was asked."""

    address: str
    routes: dict[str, Route | Answer | list[Answer]] = field(default_factory=dict)
    """An answer, several to give one after the other (the last one stays), or what makes one of a query."""
    asked: list[tuple[str, Query, dict[str, str]]] = field(default_factory=list)
    """Path, query and headers of each request."""

    def paths(self, start: str = "") -> list[str]:
        return [path for path, _, _ in self.asked if path.startswith(start)]

    def answer(self, path: str, query: Query) -> Answer:
        route = self.routes.get(path)
        if isinstance(route, list):
            return route.pop(0) if len(route) > 1 else route[0]
        if callable(route):
            return route(query)
        return route or Answer({"message": "Feature not found", "status": 404}, 404)


@contextmanager
def serve() -> Iterator[Service]:
    """Yield a service on this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query))
            service.asked.append((parts.path, query, dict(self.headers.items())))
            answer = service.answer(parts.path, query)
            time.sleep(answer.seconds)
            self.send_response(answer.status)
            kinds = {b"\xff": "image/jpeg", b"\x1a": "application/x-protobuf"}  # a picture, a tile of a map
            kind = kinds.get(answer.body[:1], "application/json")
            for name, value in {
                "Content-Type": kind,
                "Content-Length": str(len(answer.body)),
                **answer.headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body[: answer.cut_at])

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service = Service(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()


def encode(pixels: np.ndarray[Any, Any]) -> bytes:
    jpeg = io.BytesIO()
    Image.fromarray(pixels).save(jpeg, format="JPEG", quality=95)
    return jpeg.getvalue()


def make_frame(width: int = 256) -> np.ndarray[Any, Any]:
    """A smooth picture of all directions: colours are those of the directions themselves."""
    longitude = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    latitude = (0.5 - (np.arange(width // 2) + 0.5) / (width // 2)) * np.pi
    level = np.cos(latitude)[:, None]
    axes = [level * np.sin(longitude), -np.sin(latitude)[:, None] + 0 * level * longitude, level * np.cos(longitude)]
    return ((np.stack(axes, axis=-1) + 1) * 127.5).round().astype(np.uint8)


def panoramax_feature(
    address: str, number: int, latitude: float, longitude: float, *, panorama: bool = False, **properties: Any
) -> dict[str, Any]:
    """One picture of Panoramax; properties that are None are taken away."""
    identity = f"0c0ffee0-0000-4000-8000-{number:012d}"
    lens = {"field_of_view": 360 if panorama else 67, "sensor_array_dimensions": [256, 128] if panorama else [64, 48]}
    said: dict[str, Any] = {
        "datetime": "2026-05-04T09:12:31+00:00",
        "license": "etalab-2.0" if panorama else "CC-BY-SA-4.0",
        "view:azimuth": 270,
        "pers:interior_orientation": lens,
        "geovisio:status": "ready",
        "geovisio:visibility": "anyone",
        "original_file:size": 1000,
        **{name.replace("__", ":"): value for name, value in properties.items()},
    }
    files = {size: {"href": f"{address}/files/{number}/{size}.jpg"} for size in ("hd", "sd", "thumb")}
    return {
        "type": "Feature",
        "id": identity,
        "collection": f"sequence-{number % 2}",
        "geometry": {"type": "Point", "coordinates": [longitude, latitude]},
        "providers": [{"name": f"mapper {number % 2}", "roles": ["producer"]}],
        "properties": {name: value for name, value in said.items() if value is not None},
        "links": [
            {"rel": "license", "href": "https://licence.example/"},
            {"rel": "next", "href": f"{address}/neighbour"},  # of the sequence
        ],
        "assets": files,
    }


def search_panoramax(features: list[dict[str, Any]]) -> Route:
    """Answer a search as an instance does: no more than the limit, nearest to the middle first, without pages."""

    def search(query: Query) -> Answer:
        west, south, east, north = map(float, query["bbox"].split(","))
        inside = [
            feature
            for feature in features
            if west <= feature["geometry"]["coordinates"][0] <= east
            and south <= feature["geometry"]["coordinates"][1] <= north
        ]
        return Answer({"type": "FeatureCollection", "features": inside[: int(query["limit"])], "links": []})

    return search


def write_number(value: int) -> bytes:
    """Seven bits a byte, the lowest first, as in protocol buffers."""
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def write_field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return write_number(number << 3) + write_number(value)
    return write_number(number << 3 | 2) + write_number(len(value)) + value


def vector_tile(points: dict[int, tuple[int, int]], layer: str = "image", extent: int = 4096) -> bytes:
    """A tile of a map with points by their ids, at places in units of its extent, which may lie beyond it."""
    features, values = b"", b""
    for index, (identity, place) in enumerate(points.items()):
        geometry = write_number(9) + b"".join(write_number(at << 1 if at >= 0 else (-at << 1) - 1) for at in place)
        tags = write_number(1) + write_number(2 * index) + write_number(0) + write_number(2 * index + 1)
        features += write_field(
            2, write_field(1, index) + write_field(2, tags) + write_field(3, 1) + write_field(4, geometry)
        )
        values += write_field(4, write_number(3 << 3 | 1) + bytes(8)) + write_field(4, write_field(4, identity))
    keys = write_field(3, b"id") + write_field(3, b"compass_angle")
    content = write_field(15, 2) + write_field(1, layer.encode()) + features + keys + values + write_field(5, extent)
    return write_field(3, content)


PLACE = (59.33, 18.07)
FLAT = encode(np.full((48, 64, 3), 90, np.uint8))
ROUND = encode(make_frame())


def offer(
    service: Service,
    flat: int = 3,
    panoramas: int = 1,
    near: tuple[float, float] = PLACE,
    start: str = "/api",
    **properties: Any,
) -> None:
    """Have the service offer pictures near a place, as Panoramax does; its address starts with ``start``."""
    features = []
    for number in range(flat + panoramas):
        is_panorama = number >= flat
        place = (near[0] + number * 2e-4, near[1])
        features.append(panoramax_feature(service.address, number, *place, panorama=is_panorama, **properties))
        service.routes[f"/files/{number}/sd.jpg"] = Answer(FLAT)
        service.routes[f"/files/{number}/hd.jpg"] = Answer(ROUND)
    service.routes[f"{start}/search"] = search_panoramax(features)
