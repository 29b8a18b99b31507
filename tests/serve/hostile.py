"""Photos that no camera takes: of extreme shape, slow to decode, of many chunks."""

from __future__ import annotations

import struct
import zlib

HEAD = b"\x89PNG\r\n\x1a\n"


def make_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def make_png(width: int, height: int, *, before: bytes = b"") -> bytes:
    """Return a black PNG, a thousandth of the size of its pixels; ``before`` stands ahead of them."""
    header = make_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    packed = zlib.compressobj()
    row = bytes(1 + 3 * width)
    data = b"".join(packed.compress(row) for _ in range(height)) + packed.flush()
    return HEAD + header + before + make_chunk(b"IDAT", data) + make_chunk(b"IEND", b"")


def make_chunky_png(chunks: int) -> bytes:
    """Return a small PNG with so many empty chunks, each of which its decoder walks through in Python."""
    return make_png(8, 8, before=make_chunk(b"prVt", b"") * chunks)
