"""Photos with positions out of a video, or a sequence of photos, and a GPX track."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import polars as pl

from progeo.console import format_count, progress_bar
from progeo.data.geodesy import Floats, find_convergence
from progeo.data.manifest import write_manifest
from progeo.data.tools.footage import Footage, open_footage
from progeo.data.tools.gpx import Track, format_moment, read_track
from progeo.data.track import LONGEST_STEP_METRES, LONGEST_STEP_SECONDS, find_course
from progeo.errors import ProgeoError
from progeo.files import atomic_write, read_text

logger = logging.getLogger("progeo")

SOURCE = "source.json"
"""In the folder of the frames: what they were taken from."""
COURSE_STEP = 10.0
"""Metres between the frames that the course is taken from, where those to be written are farther apart."""
TIME_ZONE_STEP = 900
"""Seconds: clocks that are set to another time zone are off by a multiple of a quarter of an hour."""


def take_frames(
    source: str | Path,
    out: str | Path,
    gpx: str | Path,
    *,
    every: float = 5,
    offset: float = 0,
    start: str | None = None,
    fps: float | None = None,
) -> pl.DataFrame:
    """Write frames with positions, and ``manifest.csv`` with their table; a call that was stopped goes on.

    Args:
        source: a video, or a folder of photos taken one after the other.
        out: folder for the frames; new, empty, or with frames of the same source.
        gpx: the GPX track that was recorded meanwhile.
        every: metres from frame to frame.
        offset: seconds to add to the camera's clock, so that it agrees with the track's.
        start, fps: see ``open_footage``.

    Returns:
        The table of the manifest.

    Raises:
        ProgeoError: source or track cannot be read, have no moment in common, or ``out`` holds something else.
    """
    source, out = Path(source), Path(out)
    track = read_track(Path(gpx))
    footage = open_footage(source, start=start, fps=fps)
    seconds = footage.seconds + offset
    check_overlap(seconds, track, source, offset)
    positions = track.locate(seconds)
    numbers = choose_frames(positions, every)
    if not numbers:
        raise ProgeoError(f"Not one frame of {source} lies on {gpx}: the track has gaps wherever there are frames.")
    outside = np.isnan(positions[:, 0]).sum()
    if outside:
        logger.warning(
            f"Left out: {outside:,} of {format_count(len(seconds), 'frame')} outside the track or in its gaps"
        )
    headings = find_headings(positions, seconds, numbers, min(every, COURSE_STEP))
    unknown = np.isnan(headings).sum()
    if unknown:
        logger.warning(
            f"{unknown:,} of {format_count(len(numbers), 'frame')} without a heading: there is no other within "
            f"{LONGEST_STEP_METRES:g} m and {LONGEST_STEP_SECONDS:g} s to tell the course"
        )
    _claim(out, source)
    paths = [out / f"{footage.name(number)}.jpg" for number in numbers]
    _write_frames(footage, numbers, paths)
    written = [row for row, path in enumerate(paths) if path.is_file()]
    if len(written) < len(paths):
        logger.warning(
            f"Left out: {len(paths) - len(written):,} of {format_count(len(paths), 'frame')} of {source} that do not "
            "decode"
        )
    if not written:
        raise ProgeoError(f"Not one frame of {source} can be decoded: it may be damaged.")
    numbers, paths = [numbers[row] for row in written], [paths[row] for row in written]
    table = make_table(track, seconds[numbers], positions[numbers], headings[written], paths, source.stem)
    write_manifest(table, out / "manifest.csv")
    return table


def choose_frames(positions: Floats, every: float) -> list[int]:
    """Return the numbers of frames that are at least ``every`` metres from the one chosen before.

    Args:
        positions: (F, 2), east and north in metres; NaN where a frame has no position.
        every: metres.
    """
    numbers: list[int] = []
    located = np.flatnonzero(~np.isnan(positions[:, 0]))
    while len(located):
        numbers.append(int(located[0]))
        distances = np.hypot(*(positions[located] - positions[located[0]]).T)
        far = np.flatnonzero(distances >= every)
        located = located[far[0] :] if len(far) else located[:0]
    return numbers


def find_headings(positions: Floats, seconds: Floats, numbers: list[int], step: float) -> Floats:
    """Return the course over ground at some frames, in degrees clockwise from north; NaN where nothing tells it.

    Frames between them count too, so that the course is that of the way and not of a line across its bends.

    Args:
        positions: (F, 2), of all frames, east and north in metres; NaN where a frame has no position.
        seconds: (F,), when they were taken, ascending.
        numbers: of the frames in question.
        step: metres between the frames from which the course is taken besides.
    """
    way = np.union1d(numbers, choose_frames(positions, step))
    starts = np.zeros(len(way), dtype=np.bool_)
    starts[0] = True
    return find_course(positions[way], seconds[way], starts)[np.searchsorted(way, numbers)]


def check_overlap(seconds: Floats, track: Track, source: Path, offset: float = 0.0) -> None:
    """Raise ProgeoError where footage and track have no moment in common; it suggests an offset.

    Args:
        seconds: when the frames were taken, ``offset`` added.
        track: where the camera was.
        source: the footage, for the message.
        offset: what has been added.
    """
    first, last = seconds[0], seconds[-1]
    start, end = track.seconds[0], track.seconds[-1]
    if first <= end and last >= start:
        return
    shift = start - first
    whole_zones = round(shift / TIME_ZONE_STEP) * TIME_ZONE_STEP
    shift = whole_zones if first + whole_zones <= end and last + whole_zones >= start else round(shift)
    raise ProgeoError(
        f"{source} and the track have no moment in common: it runs from {format_moment(first)} to "
        f"{format_moment(last)}, the track from {format_moment(start)} to {format_moment(end)}. If the camera's clock "
        f"is off, or set to local time, say by how many seconds; `offset` {offset + shift:g} would bring them together."
    )


def make_table(
    track: Track, seconds: Floats, positions: Floats, headings: Floats, paths: list[Path], sequence: str
) -> pl.DataFrame:
    """Return the table of the chosen frames, for a manifest; headings, given against grid north, against true north."""
    latitude, longitude = track.to_degrees(positions)
    headings = (headings + find_convergence(latitude, longitude, track.zone.number)) % 360
    return pl.DataFrame(
        {
            "path": [str(path) for path in paths],
            "latitude": np.round(latitude, 8),
            "longitude": np.round(longitude, 8),
            "heading": pl.Series(np.round(headings, 2)).fill_nan(None),
            "timestamp": [format_moment(moment) for moment in seconds],
            "sequence": [sequence] * len(seconds),
        }
    )


def _claim(out: Path, source: Path) -> None:
    """Note in the folder what its frames come from; an error where it holds something else."""
    status = source.stat()
    described = {"source": str(source.resolve()), "bytes": status.st_size, "changed": status.st_mtime_ns}
    note = out / SOURCE
    if note.is_file():
        found = json.loads(read_text(note))
        if found != described:
            raise ProgeoError(f"{out} holds frames of {found.get('source')}: please choose another folder.")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ProgeoError(f"{out} is there already: please choose a folder that is new or empty.")
    else:
        with atomic_write(note) as temporary:
            temporary.write_text(json.dumps(described), encoding="utf-8")


def _write_frames(footage: Footage, numbers: list[int], paths: list[Path]) -> None:
    """Write those frames that are not there yet, each to a temporary file that is renamed when it is whole."""
    missing = {number: path for number, path in zip(numbers, paths, strict=True) if not path.is_file()}
    with progress_bar() as bar:
        task = bar.add_task("Taking frames", total=len(numbers), completed=len(numbers) - len(missing))
        if not missing:
            return
        temporary = {number: path.with_name(f".{path.name}.tmp") for number, path in missing.items()}
        try:
            for number in footage.save(list(temporary.items())):
                temporary[number].replace(missing[number])
                bar.advance(task)
        except OSError as error:
            raise ProgeoError(
                f"Cannot write frames to {paths[0].parent}: {error.strerror or error}. The same command goes on."
            ) from error
        finally:
            for path in temporary.values():
                path.unlink(missing_ok=True)
