"""Small files beside the tables of a place database, and photos, in a folder or an object store."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from progeo.errors import ProgeoError, require
from progeo.files import atomic_write, read_bytes
from progeo.places import storage


def read(address: str) -> bytes | None:
    """Return the content of a file; None where there is none.

    Raises:
        ProgeoError: it cannot be read.
    """
    if not storage.is_remote(address):
        try:
            return Path(address).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ProgeoError(f"{address} cannot be read: {error.strerror}.") from error
    store, key = _open(address)
    try:
        content: bytes = store.get(key).bytes().to_bytes()
    except FileNotFoundError:
        return None
    except Exception as error:
        raise explain(address, error) from error
    return content


def read_photo(path: str) -> bytes:
    """Return the content of a photo.

    Raises:
        OSError: a file cannot be read.
        ProgeoError: there is no such object, or the store cannot be reached.
    """
    if not storage.is_remote(path):
        return read_bytes(path)
    content = read(path)
    if content is None:
        raise ProgeoError(f"There is no image {path}.")
    return content


def describe(path: str) -> tuple[int, int]:
    """Return the size of a photo in bytes and the time of its last change, in nanoseconds since 1970.

    Raises:
        OSError: there is no such file.
        ProgeoError: there is no such object, or the store cannot be reached.
    """
    if not storage.is_remote(path):
        status = Path(path).stat()
        return status.st_size, status.st_mtime_ns
    store, key = _open(path)
    try:
        found = store.head(key)
    except FileNotFoundError as error:
        raise ProgeoError(f"There is no image {path}.") from error
    except Exception as error:
        raise explain(path, error) from error
    return int(found["size"]), int(found["last_modified"].timestamp() * 1e9)


def write(address: str, content: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        ProgeoError: it cannot be written.
    """
    if not storage.is_remote(address):
        with storage.translate_errors(address, "write to"):
            Path(address).parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(Path(address)) as temporary:
                temporary.write_bytes(content)
        return
    store, key = _open(address)
    try:
        store.put(key, content)
    except Exception as error:
        raise explain(address, error) from error


def list_names(folder: str, ending: str) -> list[str]:
    """Return the names of the files in a folder that end so, sorted; none where there is no such folder."""
    if not storage.is_remote(folder):
        return sorted(path.name for path in Path(folder).glob(f"*{ending}"))
    store, prefix = _open(folder)
    try:
        found = [entry["path"] for entries in store.list(f"{prefix.rstrip('/')}/") for entry in entries]
    except Exception as error:
        raise explain(folder, error) from error
    return sorted(path.rpartition("/")[2] for path in found if path.endswith(ending))


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
    if "AWS_ENDPOINT" in os.environ and not storage.has_credentials():
        raise ProgeoError(f"{address} cannot be written: {storage.NO_CREDENTIALS}.")
    store, prefix = _open(address)
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
        raise explain(address, error) from error
    if not refuses:
        raise ProgeoError(
            f"The object store of {address} has no conditional writes (it ignores If-None-Match), so that two writers "
            "would lose each other's photos. Nothing was written. Use a store that has them, such as Amazon S3, "
            "Google Cloud Storage, MinIO or SeaweedFS, or a folder."
        )


def explain(address: str, error: Exception) -> ProgeoError:
    """Return the error of an object store in a sentence that gives away no credentials."""
    reason = storage.describe_trouble(" ".join(str(error).split()))
    return ProgeoError(f"{address} cannot be read or written: {reason[:400]}.")


@lru_cache(maxsize=16)
def _open_bucket(bucket: str) -> Any:
    stores = require("obstore.store", "An object store")
    settings = {"client_options": {"allow_http": True, "connect_timeout": "5s", "timeout": "60s"}}
    settings["retry_config"] = {"max_retries": 2}
    return stores.from_url(bucket, **settings)


def _open(address: str) -> tuple[Any, str]:
    """Return the store of an address, and what is behind the bucket."""
    scheme, _, rest = address.partition("://")
    bucket, _, key = rest.partition("/")
    try:
        return _open_bucket(f"{scheme}://{bucket}"), key
    except ProgeoError:
        raise
    except Exception as error:
        raise explain(address, error) from error
