"""What has been downloaded into a folder: a line for each picture, so that a stopped run goes on, and the manifest."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from progeo.errors import ProgeoError
from progeo.files import atomic_write
from progeo.plain import parse_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

MANIFEST = "manifest.csv"
JOURNAL = ".imagery.jsonl"
COLUMNS = (
    *("path", "latitude", "longitude", "heading", "timestamp", "sequence", "pano_id"),
    *("source", "licence", "licence_url", "author", "page_url"),
)
Row = dict[str, Any]


class Journal:
    """The pictures of a folder, by their key."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """Use ``open_journal``."""
        self.folder = folder
        self.rows: dict[str, list[Row]] = {}
        path = folder / JOURNAL
        if not path.exists() and (folder / MANIFEST).exists():
            raise ProgeoError(f"{folder} holds a {MANIFEST} of something else: please choose another folder.")
        self._file: TextIO = path.open("a+", encoding="utf-8")
        try:
            self._read(settings)
        except BaseException:
            self._file.close()
            raise

    def _read(self, settings: dict[str, Any]) -> None:
        if fcntl is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ProgeoError(f"Another run is downloading into {self.folder} right now.") from error
        self._file.seek(0)
        lines = self._file.read().splitlines()
        entries = []
        for line in lines:
            try:
                entries.append(parse_json(line))
            except ValueError:
                continue  # the end of a run that was killed
        before = entries[0]["settings"] if entries else settings
        if before != settings:
            raise ProgeoError(
                f"{self.folder} was downloaded with {_format(before)}, not with {_format(settings)}: "
                "please give the same as before, or choose another folder."
            )
        for entry in entries[1:]:
            if all((self.folder / row["path"]).is_file() for row in entry["rows"]):
                self.rows[entry["key"]] = entry["rows"]
        if not entries:
            self._write({"settings": settings})
        elif lines[-1:] and not _is_json(lines[-1]):
            self._file.write("\n")

    def add(self, key: str, rows: list[Row]) -> None:
        """Note a picture whose photos are written."""
        self.rows[key] = rows
        self._write({"key": key, "rows": rows})

    def _write(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def write_manifest(self) -> None:
        """Write the table of all photos in the folder, with their licences and authors."""
        rows = sorted((row for rows in self.rows.values() for row in rows), key=lambda row: row["path"])
        with (
            atomic_write(self.folder / MANIFEST) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)

    def close(self) -> None:
        """Write the manifest and let another run come."""
        if self.rows:
            self.write_manifest()
        self._file.close()


@contextmanager
def open_journal(folder: Path, settings: dict[str, Any]) -> Iterator[Journal]:
    """Yield the journal of a folder; the manifest is written at the end, whatever ends the block.

    Args:
        folder: made where it is missing.
        settings: how photos are made of pictures; those of an earlier run must be the same.

    Raises:
        ProgeoError: they are not, another run is at work, or the folder belongs to something else.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        journal = Journal(folder, settings)
    except OSError as error:
        raise ProgeoError(f"Cannot write to {folder}: {error.strerror}. Please choose another folder.") from error
    try:
        yield journal
    finally:
        journal.close()


def _is_json(line: str) -> bool:
    try:
        parse_json(line)
    except ValueError:
        return False
    return True


def _format(settings: dict[str, Any]) -> str:
    return ", ".join(f"`{name}` {value:g}" for name, value in settings.items())
