"""Footage with a clock: the frames of a video, or photos taken one after the other."""

from __future__ import annotations

import hashlib
import shutil
import unicodedata
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl

from progeo.data.exif import read_exif
from progeo.data.geodesy import Floats
from progeo.data.listing import list_images
from progeo.data.timestamps import normalise_timestamps, parse_timestamps
from progeo.data.tools.gpx import to_seconds
from progeo.errors import ProgeoError, require
from progeo.pixels.recipe import Preprocessing, open_photo

JPEG_QUALITY = 95
WITHOUT_INDEX = ("mpegts", "mpeg", "vob")
"""Kinds of video that can only be searched by guessing, which misses frames: they are decoded from their start."""


class Footage(Protocol):
    """Frames in the order of time."""

    @property
    def seconds(self) -> Floats:
        """When each was taken: (F,), since 1970, by the camera's clock, ascending."""

    def name(self, number: int) -> str:
        """Return what a frame is called, without extension."""

    def save(self, wanted: list[tuple[int, Path]]) -> Iterator[int]:
        """Write frames as JPEG files, given by number in ascending order, and yield each number when it is written."""


def open_footage(source: Path, *, start: str | None = None, fps: float | None = None) -> Footage:
    """Read the times of a video's frames, or of the photos in a folder.

    Args:
        source: a video that FFmpeg reads, or a folder of photos.
        start: when the first frame was taken; without it, what the video or the photos' EXIF data say.
        fps: photos per second, where EXIF data do not say the time of each; photos are in the order of their names.

    Raises:
        ProgeoError: there are no frames, or nothing says when they were taken.
    """
    if start is not None:
        start_seconds = _parse_moment(start)
        if start_seconds is None:
            raise ProgeoError(f"`start` {start} is no time such as 2023-04-06T10:19:05Z.")
    else:
        start_seconds = None
    if source.is_dir():
        return _read_photos(source, start_seconds, fps)
    if not source.is_file():
        raise ProgeoError(f"There is no video or folder {source}. Check the path (the current folder is {Path.cwd()}).")
    if fps is not None:
        raise ProgeoError(f"`fps` is for folders of photos; the video {source} has times of its own.")
    return _read_video(source, start_seconds)


def _parse_moment(text: str) -> float | None:
    moment = pl.select(parse_timestamps(normalise_timestamps(pl.lit(text)))).item()
    return None if moment is None else to_seconds(moment)


@dataclass(frozen=True)
class Photos:
    """Photos of a folder."""

    folder: Path
    paths: list[str]
    seconds: Floats

    def name(self, number: int) -> str:
        """Return the name of the photo, with those of the folders it is in.

        Where several photos would have it, as ``IMG_1.jpg`` and ``IMG_1.heic``, each gets a sign of its own path: no
        number, which would go to another photo once one is added.
        """
        path = self.paths[number]
        name = _flatten(path)
        is_shared = self._counts[_fold(name)] > 1
        return f"{name}_{hashlib.sha256(path.encode()).hexdigest()[:8]}" if is_shared else name

    @cached_property
    def _counts(self) -> Counter[str]:
        return Counter(_fold(_flatten(path)) for path in self.paths)

    def save(self, wanted: list[tuple[int, Path]]) -> Iterator[int]:
        """Copy JPEG files, and write others anew."""
        for number, target in wanted:
            source = self.folder / self.paths[number]
            if source.suffix.lower() in (".jpg", ".jpeg"):
                shutil.copyfile(source, target)
            else:
                open_photo(source, Preprocessing(native=True)).save(target, "JPEG", quality=JPEG_QUALITY)
            yield number


def _flatten(path: str) -> str:
    """Return a path without extension as a single name."""
    return Path(path).with_suffix("").as_posix().replace("/", "_")


def _fold(name: str) -> str:
    """Return what names have in common that some file systems take for the same."""
    return unicodedata.normalize("NFC", name).casefold()


def _read_photos(folder: Path, start: float | None, fps: float | None) -> Photos:
    paths = list_images(folder).paths
    moments = parse_timestamps(normalise_timestamps(pl.col("timestamp"))).dt.epoch("us") / 1e6
    if fps is not None:
        if start is None:
            first = read_exif(paths.head(1), str(folder)).select(moments).item()
            if first is None:
                raise ProgeoError(
                    f"{folder / paths[0]} does not say when it was taken: say when with `start` 2023-04-06T10:19:05Z."
                )
            start = float(first)
        return Photos(folder, paths.to_list(), start + np.arange(len(paths)) / fps)
    table = read_exif(paths, str(folder), description="Reading EXIF data").select("path", seconds=moments)
    untimed = table.filter(pl.col("seconds").is_null())
    if len(untimed):
        raise ProgeoError(
            f"{len(untimed)} of {len(table)} photos in {folder} do not say in their EXIF data when they were taken, "
            f"first {untimed['path'][0]}. If they were taken at even intervals, say `fps` (photos per second) and "
            "`start`."
        )
    table = table.sort("seconds", "path")
    shift = 0.0 if start is None else start - table["seconds"][0]
    return Photos(folder, table["path"].to_list(), table["seconds"].to_numpy() + shift)


@dataclass(frozen=True)
class Video:
    """The frames of a video's first picture stream."""

    path: Path
    timestamps: list[int]
    """Of the frames, in the units of the stream."""
    seconds: Floats

    def name(self, number: int) -> str:
        """Return the video's name and the milliseconds since its first frame."""
        return f"{self.path.stem}_{round((self.seconds[number] - self.seconds[0]) * 1000):09}"

    def save(self, wanted: list[tuple[int, Path]]) -> Iterator[int]:
        """Decode the video from the first frame that is wanted to the last; frames that do not decode are left out."""
        av = require("av", "Reading videos")
        targets = {self.timestamps[number]: (number, path) for number, path in wanted}
        try:
            with av.open(str(self.path)) as container:
                for frame, timestamp in _match(_decode_from(container, min(targets)), sorted(targets)):
                    number, path = targets.pop(timestamp)
                    picture = frame.to_image()
                    # Phones film across and note how the picture is to be turned.
                    picture.rotate(frame.rotation, expand=True).save(path, "JPEG", quality=JPEG_QUALITY)
                    yield number
                    if not targets:
                        return
        except av.error.FFmpegError as error:
            raise ProgeoError(
                f"The video {self.path} cannot be decoded to its end ({error}); {len(targets)} frames are missing."
            ) from error


def _decode_from(container: Any, timestamp: int) -> Iterator[Any]:
    """Yield the frames of a video, from ``timestamp`` or before, as they are shown."""
    (stream, *_) = container.streams.video
    stream.thread_type = "AUTO"
    has_index = container.format.name not in WITHOUT_INDEX
    if has_index:
        container.seek(timestamp, stream=stream)
    frames = container.decode(stream)
    first = next(frames, None)
    if has_index and (first is None or first.pts is None or first.pts > timestamp):
        container.seek(0, backward=True)
        first, frames = None, container.decode(stream)
    yield from (frame for frame in chain([first], frames) if frame is not None and frame.pts is not None)


def _match(frames: Iterator[Any], timestamps: list[int]) -> Iterator[tuple[Any, int]]:
    """Pair frames with the times in ascending order at which they are shown; those that no frame is shown at go.

    Of interlaced video, each half of a frame has a time of its own: the second comes half a frame later.
    """
    shown, step = None, 0.0
    pending = deque(timestamps)
    for frame in chain(frames, [None]):
        while pending and shown is not None and (frame is None or pending[0] < frame.pts):
            timestamp = pending.popleft()
            if 0 <= timestamp - shown.pts <= step:
                yield shown, timestamp
        if frame is not None:
            step = 0.75 * (frame.duration or 0)
            shown = frame


def _read_video(path: Path, start: float | None) -> Video:
    """Read when the frames of a video come, without decoding them."""
    av = require("av", "Reading videos")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ProgeoError(f"{path} holds no pictures.")
            (stream, *_) = container.streams.video
            # What is cut off by an edit list is in the file all the same, and is not shown.
            shown = (packet.pts for packet in container.demux(stream) if not packet.is_discard)
            timestamps = sorted({pts for pts in shown if pts is not None})
            container.seek(0)
            first = next((frame.pts for frame in container.decode(stream) if frame.pts is not None), None)
            timestamps = [pts for pts in timestamps if first is not None and pts >= first]
            unit = float(stream.time_base)
            created = container.metadata.get("creation_time") or stream.metadata.get("creation_time")
    except av.error.FFmpegError as error:
        raise ProgeoError(f"{path} cannot be read as a video: {error}") from error
    if not timestamps:
        raise ProgeoError(f"The video {path} has no frames.")
    if start is None:
        start = _parse_moment(created) if created else None
    if start is None:
        raise ProgeoError(f"The video {path} does not say when it starts: say when with `start` 2023-04-06T10:19:05Z.")
    return Video(path, timestamps, start + (np.array(timestamps) - timestamps[0]) * unit)
