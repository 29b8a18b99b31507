"""Listing the image files of a folder, millions of them, and keeping what was read of them for the next run."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import polars as pl

from progeo import remote
from progeo.console import format_count
from progeo.data.faults import Faults
from progeo.errors import ProgeoError
from progeo.files import atomic_write, read_text
from progeo.pixels.decoding import IMAGE_EXTENSIONS

logger = logging.getLogger("progeo")

CACHE_FORMAT = "5"
"""Written into every cached table, and to be raised when tables of older caches would differ: they are read anew."""

OF_SYSTEMS = ("@eaDir", "__MACOSX")
"""Folders that storage devices and archives make of their own, with small copies of photos."""
NO_PHOTOS = {
    *(
        ".txt",
        ".md",
        ".pdf",
        ".html",
        ".htm",
        ".csv",
        ".tsv",
        ".xlsx",
        ".parquet",
        ".geojson",
        ".json",
        ".yaml",
        ".yml",
    ),
    *(".xml", ".xmp", ".aae", ".thm", ".gpx", ".kml", ".kmz", ".nmea", ".srt", ".lrf", ".mp4", ".mov", ".avi", ".mkv"),
    *(".mts", ".m2ts", ".ts", ".mpg", ".mp3", ".wav", ".mat", ".npy", ".npz", ".pth", ".pt", ".db", ".ini", ".log"),
    *(".zip", ".tar", ".gz", ".yml", ".py", ".sh", ".tmp"),
}
"""What else lies in folders of photos, and is not missed by anybody."""
EXTENSIONS_SHOWN = 6
UNREADABLE = "it cannot be read"
"""How problems of files begin that could not be opened."""

Fingerprint = dict[str, list[int] | None]  # places on disk, and the state of each; None where it is not there


class Listing(NamedTuple):
    """The images of a folder."""

    paths: pl.Series
    """Sorted, relative to the folder."""
    fingerprint: Fingerprint
    """Of what was listed."""
    remark: str
    """What is to be said of files that are not read; may be empty."""


def read_folder(
    folder: Path,
    cache_folder: str | Path | None,
    read: Callable[[pl.Series, Path], pl.DataFrame],
    sources: Iterable[Path] = (),
    faults: Faults | None = None,
) -> pl.DataFrame:
    """List the images below ``folder`` and read the table of them, or take it from the cache.

    Where ``<folder>_images_paths.txt`` stands beside the folder, as SF-XL ships it, its lines (paths relative to the
    folder) are taken instead of listing the disk. The table is kept as Parquet in ``cache_folder`` and read from there
    as long as the folder's fingerprint (the time of change of every directory in it, or of the list, and of the
    sources) stays the same, and no list or source appears or goes. Where faults are asked for, only a table without any
    is kept: the others are read anew, so that they are listed each time, and gone once they are mended. A table with a
    column ``problem`` was read from the images themselves, which change without a trace in their directory: it is not
    kept here, but file by file (``read_changed``).

    Args:
        folder: where to look.
        cache_folder: where tables are kept; None keeps none.
        read: makes the table, with a column ``path``, from the sorted relative paths and the folder.
        sources: files that it reads beside the images.
        faults: where ``read`` puts photos that cannot be used.

    Returns:
        The table with ``folder`` before each path.

    Raises:
        ProgeoError: the folder holds no image, or a folder that cannot be read, or a path is not UTF-8.
    """
    _check_encoding([str(folder.resolve())])
    cached = name_cached(folder, cache_folder)
    described_by = _fingerprint([str(source.resolve()) for source in sources])
    table = _read_cached(cached, described_by, complete=faults is not None) if cached else None
    remark = ""
    if table is None:
        relative_paths, fingerprint, remark = list_images(folder)
        table = read(relative_paths, folder)
        if cached and not faults and "problem" not in table.columns:
            _write_cached(cached, table, fingerprint | described_by, complete=faults is not None, remark=remark)
    elif cached:
        remark = pl.read_parquet_metadata(cached).get("remark", "")
    if remark:
        logger.warning(remark)
    return table.with_columns(path=pl.concat_str(pl.lit(str(folder) + os.sep), "path"))


def read_changed(
    paths: pl.Series,
    folder: Path,
    cached: Path | None,
    read: Callable[[pl.Series], pl.DataFrame],
    beside: Callable[[pl.Series, str], Mapping[str, list[str]]],
) -> pl.DataFrame:
    """Read what images say of themselves, of those alone that have changed since it was kept.

    Args:
        paths: the images, sorted, relative to ``folder``.
        folder: where the paths start.
        cached: where rows are kept, each with the state of its file; None keeps none.
        read: makes rows, with the columns ``path`` and ``problem``, of those paths that it is given. Rows of files that
            could not be read (UNREADABLE) are not kept: a right or a library that is missing may be there next time.
        beside: returns the files that ``read`` looks into beside those of the paths in a folder, by path.

    Returns:
        One row per path, in their order.
    """
    if cached is None:
        return read(paths)
    # Taken before the reading, so that a file that changes meanwhile makes its row old.
    found = find_states(paths, str(folder), beside(paths, str(folder)))
    states = pl.DataFrame({"path": paths, "state": pl.Series(found, dtype=pl.Int64)})
    known = _read_cached(cached, {}, complete=False)
    if known is None:
        table = read(paths)
    else:
        known = known.join(states, on=["path", "state"], how="semi").drop("state")
        fresh = states.join(known, on="path", how="anti")["path"]
        if fresh.is_empty():
            return states.select("path").join(known, on="path", how="left", maintain_order="left")
        table = pl.concat([known, read(fresh)]).sort("path")
    kept = table.join(states, on="path").filter(~pl.col("problem").str.starts_with(UNREADABLE).fill_null(False))
    _write_cached(cached, kept, {}, complete=False)
    return table


def find_states(paths: Iterable[str], folder: str, beside: Mapping[str, list[str]]) -> list[int]:
    """Return a number for each file that differs once it has changed: of its size and the times of its changes.

    Both times count: programs that write metadata can set the first back, and some systems have only that. So do the
    files ``beside`` it, which also say something of it, by its path.
    """
    states = []
    for path in paths:
        state = []
        try:
            for file in (f"{folder}/{path}", *beside.get(path, ())):
                status = os.stat(file)  # noqa: PTH116 - of millions of files
                state += [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        except OSError:
            state = []
        states.append(hash(tuple(state)))
    return states


def name_cached(folder: Path, cache_folder: str | Path | None, what: str = "") -> Path | None:
    """Return the file of a folder's table: two folders must never share one, two spellings of one folder should.

    Args:
        folder: that was read.
        cache_folder: where tables are kept; None keeps none.
        what: added to the name, where several tables are kept of one folder.
    """
    if cache_folder is None:
        return None
    key = hashlib.sha256(str(folder.resolve()).encode(errors="surrogateescape")).hexdigest()[:16]
    return Path(cache_folder) / f"{folder.resolve().name}-{key}{what}.parquet"


def _check_encoding(paths: list[str], folder: str = "") -> None:
    """Raise an error that names the first path that is not UTF-8: no table, log or report could hold it."""
    bad = [path for path in paths if not path.isascii() and path.encode(errors="ignore").decode() != path]
    if bad:
        example = os.fsencode(Path(folder, bad[0])).decode(errors="backslashreplace")
        total = format_count(len(paths), "path")
        raise ProgeoError(f"{len(bad):,} of {total} not in UTF-8, first {example}: please rename it.")


def list_images(folder: Path) -> Listing:
    """Return the sorted relative paths of the images in ``folder``."""
    list_file = folder.resolve().with_name(folder.resolve().name + "_images_paths.txt")
    fingerprint = _fingerprint([str(list_file)])
    remark = ""
    if list_file.is_file():
        paths = _read_list(list_file)
        if len(paths) and not (folder / paths[0]).is_file():
            raise ProgeoError(
                f"{list_file} lists {paths[0]}, but {folder / paths[0]} does not exist: "
                "bring the list and the folder together, or remove the list to have the folder read from disk."
            )
        source = str(list_file)
    else:
        found, directories, others = _walk(folder)
        _check_encoding(found, str(folder))
        paths = pl.Series("path", found, dtype=pl.String).sort()
        fingerprint |= directories
        source = str(folder)
        remark = describe_others(others, folder)
    if paths.is_empty():
        raise ProgeoError(f"There are no images ({', '.join(IMAGE_EXTENSIONS)}) in {source}. {remark}".rstrip())
    return Listing(paths, fingerprint, remark)


def describe_others(others: Counter[str], folder: Path) -> str:
    """Say which files of a folder are none that are read; nothing where there are none."""
    if not others:
        return ""
    counts = ", ".join(f"{count:,} {extension}" for extension, count in others.most_common(EXTENSIONS_SHOWN))
    rest = sum(others.values()) - sum(count for _, count in others.most_common(EXTENSIONS_SHOWN))
    more = f" and {rest:,} of other kinds" if rest else ""
    return f"Not read, as they are no photos of a known kind: {counts}{more} in {folder}"


def _read_list(list_file: Path) -> pl.Series:
    """Return the sorted paths in a list, one a line. Python's lines would take several times the memory of Polars'.

    Raises:
        ProgeoError: the list is not UTF-8.
    """
    try:
        lines = pl.scan_csv(
            list_file,
            schema={"path": pl.String},
            has_header=False,
            separator="\x1f",  # of fields, which a line does not have
            quote_char=None,
            raise_if_empty=False,
            glob=False,
        )
        paths = lines.select(pl.col("path").str.strip_chars()).filter(pl.col("path") != "").sort("path")
        return paths.collect(engine="streaming")["path"]  # sorts long names twice as fast
    except pl.exceptions.ComputeError as error:
        try:
            read_text(list_file)  # Polars does not say where
        except UnicodeDecodeError as wrong:
            raise ProgeoError(f"{list_file} is not UTF-8 (at byte {wrong.start}): please save it as UTF-8.") from wrong
        raise ProgeoError(f"{list_file} cannot be read as paths, one on each line: {error}.") from error


def _walk(folder: Path) -> tuple[list[str], Fingerprint, Counter[str]]:
    """Return the relative paths of the images below ``folder`` (links followed, each directory once), unsorted.

    And what they were read from, and how many files there are of each extension that is not read.
    """
    paths: list[str] = []
    others: Counter[str] = Counter()
    fingerprint: Fingerprint = {}
    pending = [(str(folder.resolve()), "")]
    seen = set()
    while pending:
        directory, prefix = pending.pop()
        try:
            status = Path(directory).stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            # Taken before the listing, so that a file added meanwhile makes the fingerprint old, never the table.
            fingerprint[directory] = _describe_state(status)
            with os.scandir(directory) as entries:
                visible = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            raise ProgeoError(
                f"Cannot list the folder {directory}: {error.strerror}. Get the right to read it, or move it away."
            ) from error
        for entry in visible:
            if entry.is_dir():  # whatever it is called
                if entry.name not in OF_SYSTEMS:
                    pending.append((entry.path, f"{prefix}{entry.name}/"))
            elif entry.name.lower().endswith(IMAGE_EXTENSIONS):
                paths.append(prefix + entry.name)
            elif find_extension(entry.name) not in NO_PHOTOS:
                others[find_extension(entry.name)] += 1
    return paths, fingerprint, others


def find_extension(name: str) -> str:
    """Return the extension of a file's name in small letters; without one, the name."""
    return Path(name).suffix.lower() or name


def list_remote(folder: str) -> list[str]:
    """Return the addresses of the images below a folder of an object store, sorted.

    Raises:
        ProgeoError: there are none, or the store cannot be reached or read.
    """
    start = len(folder.rstrip("/")) + 1
    paths = [path for path in remote.list_files(folder) if path.lower().endswith(IMAGE_EXTENSIONS)]
    paths = [path for path in paths if not any(_is_hidden(part) for part in path[start:].split("/"))]
    if not paths:
        raise ProgeoError(
            f"There are no images ({', '.join(IMAGE_EXTENSIONS)}) in {folder}. A manifest may name photos of an object "
            "store, but must be a file of this machine."
        )
    return paths


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in OF_SYSTEMS


def list_photos(places: Iterable[str | Path]) -> list[str]:
    """Return the photos that are named, and those below the folders that are named, sorted within each folder.

    Both may lie in an object store; there, what has the name of an image is one.

    Raises:
        ProgeoError: a folder holds no photo or cannot be read, or a path is not UTF-8.
    """
    paths = []
    for place in map(str, places):
        _check_encoding([place])
        if remote.is_remote(place) and not place.lower().endswith(IMAGE_EXTENSIONS):
            paths += list_remote(place)
        elif Path(place).is_dir():
            listed = list_images(Path(place))
            paths += [str(Path(place, path)) for path in listed.paths]
            if listed.remark:
                logger.warning(listed.remark)
        else:
            paths.append(place)
    return paths


def list_folders(folders: pl.Series) -> pl.Series:
    """Return the paths of everything in some folders, for looking up many files: asking for each one takes longer.

    Folders are listed once each; those that cannot be read have nothing in them. "" is the root, null the current one.
    """
    existing = []
    for folder in folders.fill_null(".").unique():
        with suppress(OSError), os.scandir(folder or "/") as entries:
            prefix = "" if folder == "." else f"{folder}/"
            existing += [prefix + entry.name for entry in entries]
    return pl.Series("path", existing, dtype=pl.String)


def _fingerprint(places: list[str]) -> Fingerprint:
    """Return the state of each place: adding or removing a file changes its directory's."""
    return {place: _describe_state(Path(place).stat()) if Path(place).exists() else None for place in places}


def _describe_state(status: os.stat_result) -> list[int]:
    """Return the size of a file and the times of its changes, in nanoseconds."""
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _read_cached(cached: Path, sources: Fingerprint, *, complete: bool) -> pl.DataFrame | None:
    """Return the cached table, or None where there is none, or its folder or a source has changed since.

    With ``complete`` it must be known that nothing was left out of it.
    """
    if not cached.is_file():
        return None
    try:
        metadata = pl.read_parquet_metadata(cached)
        fingerprint = json.loads(metadata["fingerprint"])
        places = list(fingerprint | sources)
        if metadata["format"] != CACHE_FORMAT or _fingerprint(places) != fingerprint:
            return None
        if complete and metadata["complete"] != "yes":
            return None
        return pl.read_parquet(cached)
    except (OSError, KeyError, ValueError, pl.exceptions.PolarsError):
        return None  # a damaged cache is only a slower start


def _write_cached(
    cached: Path, table: pl.DataFrame, fingerprint: Fingerprint, *, complete: bool, remark: str = ""
) -> None:
    """Write the table for the next run."""
    try:
        with atomic_write(cached) as temporary:
            metadata = {
                "format": CACHE_FORMAT,
                "fingerprint": json.dumps(fingerprint),
                "complete": "yes" if complete else "unknown",
                "remark": remark,
            }
            # Names compress as well at level 1 as at the default, in half the time.
            table.write_parquet(temporary, compression_level=1, metadata=metadata)
    except ProgeoError as error:
        raise ProgeoError(f"{error} (It is the cached image table: `cache_folder` chooses another place.)") from error
