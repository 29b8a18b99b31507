"""Vector tiles of maps (https://github.com/mapbox/vector-tile-spec, version 2.1): the points of one layer.

A tile is a protocol buffer: numbers of seven bits a byte, and fields with a number and a kind. Only what points need is
read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from progeo.imagery.area import Box

LAYERS, NAME, FEATURES, KEYS, VALUES, EXTENT = 3, 1, 2, 3, 4, 5
"""Fields of a tile, and of a layer."""
TAGS, GEOMETRY = 2, 4
"""Fields of a feature."""
USUAL_EXTENT = 4096
MOVE_TO_ONE = 9
"""The command that a point's geometry starts with."""


def list_tiles(box: Box, zoom: int) -> list[tuple[int, int]]:
    """Return column and row of the tiles that a box lies in, in Web Mercator."""
    columns, rows = (
        [int(share * 2**zoom) for share in shares]
        for shares in zip(_to_shares(box.west, box.north), _to_shares(box.east, box.south), strict=True)
    )
    last = 2**zoom - 1
    return [
        (column, row)
        for column in range(columns[0], min(columns[1], last) + 1)
        for row in range(rows[0], min(rows[1], last) + 1)
    ]


def _to_shares(longitude: float, latitude: float) -> tuple[float, float]:
    """Return a place as shares of the world's width and height, from the north-west."""
    y = math.asinh(math.tan(math.radians(latitude)))
    return (longitude + 180) / 360, (1 - y / math.pi) / 2


def read_points(content: bytes, layer: str, column: int, row: int, zoom: int) -> dict[str, NDArray[np.float64]]:
    """Return longitude and latitude (2,) of the points of a layer by their property ``id``.

    Args:
        content: of the tile.
        layer: its name.
        column, row, zoom: of the tile; a tile also holds points of a strip around it.

    Raises:
        ValueError: it is no such tile.
    """
    found: dict[str, NDArray[np.float64]] = {}
    for number, part in _read_fields(content):
        if number != LAYERS or not isinstance(part, bytes):
            continue
        fields = list(_read_fields(part))
        if (NAME, layer.encode()) in fields:
            found |= _read_layer(fields, column, row, zoom)
    return found


def _read_layer(
    fields: list[tuple[int, int | bytes]], column: int, row: int, zoom: int
) -> dict[str, NDArray[np.float64]]:
    keys = [value for number, value in fields if number == KEYS]
    values = [_read_value(value) for number, value in fields if number == VALUES and isinstance(value, bytes)]
    extent = next((value for number, value in fields if number == EXTENT and isinstance(value, int)), USUAL_EXTENT)
    identity = keys.index(b"id") if b"id" in keys else -1
    ids, places = [], []
    for number, feature in fields:
        if number != FEATURES or not isinstance(feature, bytes):
            continue
        parts = {part: value for part, value in _read_fields(feature) if isinstance(value, bytes)}
        tags, geometry = (list(_read_numbers(parts.get(name, b""))) for name in (TAGS, GEOMETRY))
        name = dict(zip(tags[::2], tags[1::2], strict=True)).get(identity)
        if name is None or geometry[:1] != [MOVE_TO_ONE]:
            continue
        ids.append(values[name])
        places.append([_undo_zigzag(value) for value in geometry[1:3]])
    if not ids:
        return {}
    shares = (np.array(places, float) / extent + [column, row]) / 2**zoom
    longitudes = shares[:, 0] * 360 - 180
    latitudes = np.degrees(np.arctan(np.sinh(np.pi * (1 - 2 * shares[:, 1]))))
    return dict(zip(ids, np.column_stack([longitudes, latitudes]), strict=True))


def _undo_zigzag(value: int) -> int:
    """Return a signed number; it is written so that small ones take few bytes."""
    return (value >> 1) ^ -(value & 1)


def _read_value(content: bytes) -> str:
    """Return a property's text or whole number as a text, and nothing for others."""
    for number, value in _read_fields(content):
        if number == 1 and isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if number in (4, 5) and isinstance(value, int):
            return str(value)
        if number == 6 and isinstance(value, int):
            return str(_undo_zigzag(value))
    return ""


def _read_fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each field: a whole number, or the bytes of a text, a part, or several numbers."""
    at = 0
    while at < len(content):
        head, at = _read_number(content, at)
        kind = head & 7
        if kind == 0:
            value, at = _read_number(content, at)
            yield head >> 3, value
            continue
        if kind not in (1, 2, 5):
            raise ValueError("no vector tile")
        size, at = _read_number(content, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
        if at + size > len(content):
            raise ValueError("a vector tile that breaks off")
        yield head >> 3, content[at : at + size]
        at += size


def _read_numbers(content: bytes) -> Iterator[int]:
    at = 0
    while at < len(content):
        value, at = _read_number(content, at)
        yield value


def _read_number(content: bytes, at: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, the lowest first, and where the next one starts."""
    value = shift = 0
    while True:
        if at >= len(content) or shift > 63:
            raise ValueError("a vector tile that breaks off")
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
