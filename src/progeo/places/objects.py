"""Small files beside the tables of a place database, and photos, in a folder or an object store."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from progeo import remote
from progeo.errors import ProgeoError, require
from progeo.files import atomic_write, read_bytes
from progeo.places import storage


def read(address: str) -> bytes | None:
    """Return the content of a file; None where there is none.

    Raises:
        ProgeoError: it cannot be read.
    """
    if remote.is_remote(address):
        return remote.read(address)
    try:
        return Path(address).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ProgeoError(f"{address} cannot be read: {error.strerror}.") from error


def read_photo(path: str) -> bytes:
    """Return the content of a photo.

    Raises:
        OSError: a file cannot be read.
        ProgeoError: there is no such object, or the store cannot be reached.
    """
    return remote.read_photo(path) if remote.is_remote(path) else read_bytes(path)


def is_readable(path: str) -> bool:
    """Whether a photo is there, and may be read."""
    if remote.is_remote(path):
        with suppress(ProgeoError):
            remote.describe(path)
            return True
        return False
    return Path(path).is_file() and os.access(path, os.R_OK)


def write(address: str, content: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        ProgeoError: it cannot be written.
    """
    if not remote.is_remote(address):
        with storage.translate_errors(address, "write to"):
            Path(address).parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(Path(address)) as temporary:
                temporary.write_bytes(content)
        return
    store, key = remote.open_store(address)
    try:
        store.put(key, content)
    except Exception as error:
        raise remote.explain(address, error) from error


def list_names(folder: str, ending: str) -> list[str]:
    """Return the names of the files in a folder that end so, sorted; none where there is no such folder."""
    if not remote.is_remote(folder):
        return sorted(path.name for path in Path(folder).glob(f"*{ending}"))
    return sorted(path.rpartition("/")[2] for path in remote.list_files(folder) if path.endswith(ending))


@cache
def check_commits(address: str) -> None:
    """Refuse an object store that writes over what is there though it is told not to.

    Every change of a database is a file that must not be there yet. A store that ignores this condition loses what one
    of two writers has stored, and neither hears of it.

    Raises:
        ProgeoError: it is such a store, or cannot be reached or written to.
    """
    if not address.startswith("s3://"):  # the others have always had it
        return
    if "AWS_ENDPOINT" in os.environ and not remote.has_credentials():
        raise ProgeoError(f"{address} cannot be written: {remote.NO_CREDENTIALS}.")
    store, prefix = remote.open_store(address)
    key = f"{prefix.rstrip('/')}/.probe-{uuid.uuid4().hex}"
    exists: Any = require("obstore", "An object store").exceptions.AlreadyExistsError
    try:
        store.put(key, b"1", mode="create")
        try:
            store.put(key, b"2", mode="create")
            refuses = False
        except exists:
            refuses = True
        finally:
            with suppress(Exception):  # who may write need not be allowed to delete
                store.delete(key)
    except Exception as error:
        raise remote.explain(address, error) from error
    if not refuses:
        raise ProgeoError(
            f"The object store of {address} has no conditional writes (it ignores If-None-Match), so that two writers "
            "would lose each other's photos. Nothing was written. Use a store that has them, such as Amazon S3, "
            "Google Cloud Storage, MinIO or SeaweedFS, or a folder."
        )
