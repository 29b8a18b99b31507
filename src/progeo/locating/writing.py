"""Positions back into photos: which are written, where to, and a log by which it can be undone.

Nothing is written over a position that a photo has already. What an earlier run has estimated counts as no position.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import polars as pl

from progeo.data.exif import read_exif
from progeo.errors import ProgeoError
from progeo.files import read_bytes, read_text
from progeo.locating.estimate import Estimate, Located
from progeo.locating.output import exif, xmp
from progeo.locating.output.exif import PositionToWrite
from progeo.locating.output.files import replace_file
from progeo.locating.output.marked import refuse_local_frame
from progeo.plain import parse_json

Kind = Literal["sidecar", "exif"]
LOG = "written.jsonl"
UNKNOWN = "unknown place"
HAS_POSITION = "it has a position already"


@dataclass(frozen=True)
class Writing:
    """What is to be done with one photo."""

    photo: str
    estimate: Estimate
    kind: Kind
    file: Path
    """That is written: the photo itself, or the XMP file beside it."""
    left: str | None = None
    """Why nothing is written; None where something is."""
    remark: str = ""

    @property
    def position(self) -> PositionToWrite:
        """What is written."""
        estimate = self.estimate
        assert estimate.latitude is not None and estimate.longitude is not None
        return PositionToWrite(estimate.latitude, estimate.longitude, estimate.radius_metres)


@dataclass
class Report:
    """What came of a run."""

    done: list[str] = field(default_factory=list)
    """Files that were written, or put back."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why, by the file."""


def plan_writing(
    results: Sequence[Located],
    kind: Kind,
    *,
    sidecar_name: str = "full",
    overwrite: bool = False,
    even_unknown: bool = False,
    even_uncalibrated: bool = False,
) -> list[Writing]:
    """Return what is to be done with each photo.

    Args:
        results: photos and estimates.
        kind: ``sidecar`` writes XMP files beside the photos, ``exif`` into the photos themselves; photos of a format
            that takes no EXIF data without being encoded anew, and those whose EXIF data is full, get a sidecar.
        sidecar_name: ``full`` for ``photo.jpg.xmp``, ``stem`` for ``photo.xmp``.
        overwrite: also where a photo has a position.
        even_unknown: also positions of places that the database does not know.
        even_uncalibrated: also positions of a database that cannot tell which places it knows.
    """
    if any(result.estimate.is_local for result in results):
        raise refuse_local_frame("write")
    unique = {os.path.realpath(result.path): result for result in results}
    located = find_located(result.path for result in unique.values())
    plans: list[Writing] = []
    taken: dict[Path, str] = {}
    for result in unique.values():
        into, remark = kind, ""
        if kind == "exif":
            remark = _find_obstacle(Path(result.path)) or ""
            into = "sidecar" if remark else "exif"
        file = Path(result.path) if into == "exif" else xmp.name_sidecar(result.path, sidecar_name)
        left, known = None, result.estimate.known
        is_wanted = known or even_unknown or (known is None and even_uncalibrated)
        if result.estimate.latitude is None or not is_wanted:
            left = UNKNOWN
        elif result.path in located and not overwrite:
            left = HAS_POSITION
        elif taken.setdefault(file, result.path) != result.path:
            left = f"{file.name} is that of {Path(taken[file]).name}"
        plans.append(Writing(result.path, result.estimate, into, file, left, remark))
    return plans


def find_located(photos: Iterable[str]) -> set[str]:
    """Return which photos have a position in EXIF data, in XMP or beside them; what progeo has estimated is none."""
    table = read_exif(pl.Series("path", list(photos), dtype=pl.String))
    return set(table.filter(pl.col("problem").is_null())["path"])


def _find_obstacle(photo: Path) -> str | None:
    """Return why EXIF data cannot be written into a photo, or None."""
    try:
        exif.write_position(read_bytes(photo), PositionToWrite(0.0, 0.0, 0.0))
    except ProgeoError as error:
        return str(error)
    except OSError as error:
        return str(error.strerror)
    return None


def write_positions(plans: Iterable[Writing], log: Path) -> Report:
    """Write what is planned, each file at once and whole, and before each a line into the log.

    Args:
        plans: of ``plan_writing``.
        log: a file, which is added to.
    """
    report = Report()
    with log.open("a", encoding="utf-8") as lines:
        for plan in plans:
            if plan.left is not None:
                continue
            try:
                before, after, restore = _make_content(plan)
                entry = {
                    **{"photo": os.path.abspath(plan.photo), "file": os.path.abspath(plan.file), "kind": plan.kind},  # noqa: PTH100
                    **{"before": before and _hash(before), "after": _hash(after), "restore": restore},
                    **plan.position._asdict(),
                }
                lines.write(json.dumps(entry, ensure_ascii=False) + "\n")
                lines.flush()
                os.fsync(lines.fileno())
                replace_file(plan.file, after)
                report.done.append(str(plan.file))
            except (ProgeoError, OSError) as error:
                report.failed[str(plan.file)] = str(error)
    return report


def _make_content(plan: Writing) -> tuple[bytes | None, bytes, Any]:
    """Return the content of a file before and after, and what is needed to put it back."""
    before = read_bytes(plan.file) if plan.file.exists() else None
    if plan.kind == "exif":
        assert before is not None
        return before, exif.write_position(before, plan.position), exif.describe_block(before)
    restore = None if before is None else base64.b64encode(before).decode()
    return before, xmp.write_position(before, plan.position), restore


def undo(log: Path) -> Report:
    """Put back what a log says was written, the last first. What has been changed since then is left as it is.

    Raises:
        ProgeoError: there is no such log, or it is none.
    """
    report = Report()
    for entry in reversed(list(_read_log(log))):
        file = Path(entry["file"])
        try:
            content = read_bytes(file) if file.exists() else None
            if (content and _hash(content)) == entry["before"]:
                continue  # not written, or put back already
            if content is None or _hash(content) != entry["after"]:
                report.failed[str(file)] = "it is gone" if content is None else "it has been changed since"
                continue
            if entry["before"] is None:
                file.unlink()
            elif entry["kind"] == "exif":
                replace_file(file, exif.remove_position(content, *entry["restore"]))
            else:
                replace_file(file, base64.b64decode(entry["restore"]))
            report.done.append(str(file))
        except (ProgeoError, OSError) as error:
            report.failed[str(file)] = str(error)
    return report


def _read_log(log: Path) -> Iterator[dict[str, Any]]:
    log = log / LOG if log.is_dir() else log
    try:
        lines = read_text(log).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ProgeoError(
            f"There is no log {log} of written positions: progeo locate names it when it writes."
        ) from error
    for number, line in enumerate(lines, start=1):
        try:
            entry = parse_json(line)
            yield {name: entry[name] for name in ("file", "kind", "before", "after", "restore")}
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                return  # of a run that was killed; what it was about has not been written
            raise ProgeoError(f"{log}, line {number} is none of a log of written positions.") from error


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
