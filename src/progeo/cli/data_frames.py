"""``progeo data frames``: photos with positions out of a video, or a sequence of photos, and a GPX track."""

from __future__ import annotations

from dataclasses import dataclass

from jsonargparse.typing import PositiveFloat

from progeo.cli.options import REQUIRED, option
from progeo.cli.spelling import say
from progeo.console import format_count


@dataclass(kw_only=True)
class FramesOptions:
    """Frames"""

    source: str = option(REQUIRED, "a video, or a folder of photos taken one after the other", positional=True)
    out: str = option(REQUIRED, "folder to write frames and manifest.csv to; a stopped run goes on", positional=True)
    gpx: str = option(REQUIRED, "the GPX track that was recorded meanwhile")
    every: PositiveFloat = option(5, "metres from frame to frame")
    offset: float = option(0, "seconds to add to the camera's clock, so that it agrees with the track's")
    start: str | None = option(
        None, "when the first frame was taken, as 2023-04-06T10:19:05Z; without it what the video or EXIF data say"
    )
    fps: PositiveFloat | None = option(
        None, "photos per second of a folder whose photos do not say their time; they go in the order of their names"
    )


def run(options: FramesOptions) -> None:
    """Run ``progeo data frames``."""
    from progeo.data.tools.frames import take_frames

    table = take_frames(**vars(options))
    say(f"{format_count(len(table), 'frame')} written to {options.out}", vars(options))
