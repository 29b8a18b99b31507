"""Positions written into EXIF data by appending, so that nothing else of the file moves or changes.

EXIF data is a TIFF block: directories of entries, whose values stand at offsets from its start. A new GPS directory and
a new main directory, which points to it, are put at the end of the block, and the header is pointed at the latter. All
else, the MakerNote with its absolute offsets and the thumbnail too, stays where it is. Taking the end off again gives
the file as it was.

JPEG: EXIF 2.32, section 4.7.2 (segment APP1). PNG: third edition, section 11.3.3.5 (chunk ``eXIf``).
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from typing import NamedTuple

from progeo.errors import ProgeoError

MARK = "progeo"
"""GPSProcessingMethod of a position that progeo has estimated."""
METHOD = b"ASCII\0\0\0" + MARK.encode()
LARGEST_SEGMENT = 65_533 - len(b"Exif\0\0")
"""Bytes of a TIFF block in a JPEG."""
PNG_START = b"\x89PNG\r\n\x1a\n"

ASCII, LONG, RATIONAL, BYTE, UNDEFINED = 2, 4, 5, 1, 7
GPS_DIRECTORY = 0x8825
OLD_FIX = {5, 6, 8, 9, 10, 11, 30, 31}
"""Altitude, satellites, status, mode, DOP, differential correction and error of another position."""


class PositionToWrite(NamedTuple):
    """What is written into a photo."""

    latitude: float
    longitude: float
    radius_metres: float | None
    """Of the circle that probably holds the true place; None where nobody knows."""


@dataclass(frozen=True)
class Block:
    """Where the TIFF block of a file is."""

    start: int
    """First byte of what is replaced: a segment of JPEG with its marker, a chunk of PNG with its length."""
    end: int
    tiff: bytes
    """Empty where there is none yet."""


def write_position(content: bytes, position: PositionToWrite) -> bytes:
    """Return a JPEG or PNG file with a position; the data of the image is the same to the byte.

    Raises:
        ProgeoError: it is no such file, it is damaged, or there is no room.
    """
    block = find_block(content)
    return _replace(content, block, append_position(block.tiff, position))


def remove_position(content: bytes, tiff_length: int, directory: int) -> bytes:
    """Return a file as it was before ``write_position``.

    Args:
        content: of the file.
        tiff_length: bytes of the TIFF block before, 0 where there was none.
        directory: where its main directory was.
    """
    block = find_block(content)
    if not tiff_length:
        return content[: block.start] + content[block.end :]
    order = _read_order(block.tiff)
    return _replace(content, block, block.tiff[:4] + struct.pack(f"{order}I", directory) + block.tiff[8:tiff_length])


def describe_block(content: bytes) -> tuple[int, int]:
    """Return what ``remove_position`` needs to know of a file before it is written."""
    tiff = find_block(content).tiff
    return (len(tiff), struct.unpack_from(f"{_read_order(tiff)}I", tiff, 4)[0]) if tiff else (0, 0)


def find_block(content: bytes) -> Block:
    """Return the TIFF block of a JPEG or PNG file.

    Raises:
        ProgeoError: it is no such file, or damaged.
    """
    try:
        if content[:2] == b"\xff\xd8":
            return _find_in_jpeg(content)
        if content[:8] == PNG_START:
            return _find_in_png(content)
    except (struct.error, IndexError) as error:
        raise ProgeoError("the file is damaged") from error
    raise ProgeoError("only JPEG and PNG files take EXIF data without being encoded anew")


def _find_in_jpeg(content: bytes) -> Block:
    place = after_header = 2
    while content[place] == 0xFF and content[place + 1] not in (0xDA, 0xD9):
        marker, (length,) = content[place + 1], struct.unpack_from(">H", content, place + 2)
        end = place + 2 + length
        if marker == 0xE1 and content[place + 4 : place + 10] == b"Exif\0\0":
            return Block(place, end, content[place + 10 : end])
        if marker == 0xE0:  # JFIF stands first
            after_header = end
        place = end
    if content[place] != 0xFF:
        raise ProgeoError("the file is damaged")
    return Block(after_header, after_header, b"")


def _find_in_png(content: bytes) -> Block:
    place, before_image = 8, None
    while True:
        (length,) = struct.unpack_from(">I", content, place)
        kind, end = content[place + 4 : place + 8], place + 12 + length
        if kind == b"eXIf":
            return Block(place, end, content[place + 8 : place + 8 + length])
        if kind == b"IDAT" and before_image is None:
            before_image = place
        if kind == b"IEND":
            if before_image is None:
                raise ProgeoError("the file is damaged")
            return Block(before_image, before_image, b"")
        place = end


def _replace(content: bytes, block: Block, tiff: bytes) -> bytes:
    """Return a file with another TIFF block."""
    if content[:8] == PNG_START:
        chunk = b"eXIf" + tiff
        part = struct.pack(">I", len(tiff)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    elif len(tiff) > LARGEST_SEGMENT:
        raise ProgeoError("its EXIF data is full, as a JPEG holds 64 KB of it")
    else:
        part = b"\xff\xe1" + struct.pack(">H", 8 + len(tiff)) + b"Exif\0\0" + tiff
    return content[: block.start] + part + content[block.end :]


def append_position(tiff: bytes, position: PositionToWrite) -> bytes:
    """Return a TIFF block with a position; all that was in it stays where it was.

    Raises:
        ProgeoError: it is damaged.
    """
    try:
        return _append_position(tiff or b"MM\0*\0\0\0\x08" + bytes(6), position)
    except struct.error as error:
        raise ProgeoError("its EXIF data is damaged") from error


def _append_position(tiff: bytes, position: PositionToWrite) -> bytes:
    order = _read_order(tiff)
    (place,) = struct.unpack_from(f"{order}I", tiff, 4)
    entries, following = _read_directory(tiff, order, place)
    pointer = next((entry for entry in entries if entry[0] == GPS_DIRECTORY), None)
    kept: list[tuple[int, int, int, bytes]] = []
    if pointer is not None:
        (gps_place,) = struct.unpack(f"{order}I", pointer[3])
        kept, _ = _read_directory(tiff, order, gps_place)
    grown = bytearray(tiff + bytes(len(tiff) % 2))
    values = encode_position(position, order)
    new = []
    for tag, kind, count, value in values:
        if len(value) > 4:
            offset = len(grown)
            grown += value + bytes(len(value) % 2)
            value = struct.pack(f"{order}I", offset)
        new.append((tag, kind, count, value.ljust(4, b"\0")))
    written = {tag for tag, *_ in values}
    gps = sorted([entry for entry in kept if entry[0] not in written | OLD_FIX] + new)
    gps_pointer = (GPS_DIRECTORY, LONG, 1, struct.pack(f"{order}I", len(grown)))
    grown += _pack_directory(gps, 0, order)
    main = sorted([entry for entry in entries if entry[0] != GPS_DIRECTORY] + [gps_pointer])
    struct.pack_into(f"{order}I", grown, 4, len(grown))
    grown += _pack_directory(main, following, order)
    return bytes(grown)


def encode_position(position: PositionToWrite, order: str) -> list[tuple[int, int, int, bytes]]:
    """Return tags of the GPS directory with their kind, count and value."""
    latitude, longitude, radius = position

    def pack(*numbers: tuple[int, int]) -> bytes:
        return b"".join(struct.pack(f"{order}II", *pair) for pair in numbers)

    return [
        (0, BYTE, 4, bytes([2, 3, 0, 0])),
        (1, ASCII, 2, b"N\0" if latitude >= 0 else b"S\0"),
        (2, RATIONAL, 3, pack(*to_sexagesimal(latitude))),
        (3, ASCII, 2, b"E\0" if longitude >= 0 else b"W\0"),
        (4, RATIONAL, 3, pack(*to_sexagesimal(longitude))),
        (0x12, ASCII, 7, b"WGS-84\0"),
        (0x1B, UNDEFINED, len(METHOD), METHOD),
        *([] if radius is None else [(0x1F, RATIONAL, 1, pack((math.ceil(radius * 100), 100)))]),
    ]


def to_sexagesimal(degrees: float) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return degrees, minutes and seconds without a sign as fractions; a ten thousandth of a second is 3 mm."""
    parts = round(abs(degrees) * 3600 * 10_000)
    minutes, seconds = divmod(parts, 60 * 10_000)
    return (minutes // 60, 1), (minutes % 60, 1), (seconds, 10_000)


def _read_order(tiff: bytes) -> str:
    """Return the byte order, as ``struct`` writes it."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        raise ProgeoError("its EXIF data is damaged")
    return order


def _read_directory(tiff: bytes, order: str, place: int) -> tuple[list[tuple[int, int, int, bytes]], int]:
    """Return the entries of a directory, tag, kind, count and the four bytes of value or offset; and the next one's."""
    (count,) = struct.unpack_from(f"{order}H", tiff, place)
    entries = [struct.unpack_from(f"{order}HHI4s", tiff, place + 2 + 12 * number) for number in range(count)]
    (following,) = struct.unpack_from(f"{order}I", tiff, place + 2 + 12 * count)
    return entries, following


def _pack_directory(entries: list[tuple[int, int, int, bytes]], following: int, order: str) -> bytes:
    packed = b"".join(struct.pack(f"{order}HHI4s", *entry) for entry in entries)
    return struct.pack(f"{order}H", len(entries)) + packed + struct.pack(f"{order}I", following)
