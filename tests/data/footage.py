"""A tiny video and a GPX track of one walk, as a phone and a receiver write them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

START = "2023-04-06T10:19:05"
LATITUDE, LONGITUDE = 59.3293, 18.0686
METRES_PER_DEGREE = 111_300.0
"""A little less than there are, so that frames meant to be five metres apart are so after rounding."""


def write_video(
    path: Path,
    frames: int = 40,
    fps: int = 4,
    start: str | None = f"{START}Z",
    *,
    codec: str = "mpeg4",
    options: dict[str, str] | None = None,
    cut: int = 0,
) -> Path:
    """Write frames that grow brighter, 64 x 48 pixels; an edit list hides the first that are ``cut``."""
    import av

    with av.open(str(path), "w", options={"avoid_negative_ts": "disabled"} if cut else {}) as container:
        if start:
            container.metadata["creation_time"] = start
        stream: Any = container.add_stream(codec, rate=fps, options=options or {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = Fraction(1, fps)
        packets: list[Any] = []
        for number in range(frames):
            pixels = np.full((48, 64, 3), 5 * number, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            packets += stream.encode(frame)
        for packet in [*packets, *stream.encode()]:
            if packet.pts is not None:
                packet.pts, packet.dts = packet.pts - cut, packet.dts - cut
            container.mux(packet)
    return path


def write_track(path: Path, norths: Sequence[float] = tuple(range(0, 22, 2)), hour: int = 10) -> Path:
    """Write a point each second, so many metres north of the first."""
    points = "".join(
        f'<trkpt lat="{LATITUDE + north / METRES_PER_DEGREE}" lon="{LONGITUDE}">'
        f"<time>2023-04-06T{hour:02}:19:{5 + second:02}Z</time></trkpt>"
        for second, north in enumerate(norths)
    )
    path.write_text(f'<gpx version="1.1" creator="test"><trk><trkseg>{points}</trkseg></trk></gpx>')
    return path
