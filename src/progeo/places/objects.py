"""Small files beside the tables of a place database, and photos, in a folder or an object store."""

from __future__ import annotations

import re
import uuid
from functools import lru_cache
from pathlib import Path
from typing import Any

from progeo.errors import ProgeoError, require
from progeo.files import atomic_write
from progeo.places import storage

SECRETS = re.compile(
    r"(?i)(secret|token|signature|credential|access_?key(_?id)?|password)([\"']?\s*[=:]\s*[\"']?)[^\s\"',;&]+"
)


def is_remote(path: str | Path) -> bool:
    """Whether a path is an address in an object store."""
    return storage.is_remote(str(path))


def read(address: str) -> bytes | None:
    """Return the content of a file; None where there is none.

    Raises:
        ProgeoError: it cannot be read.
    """
    if not is_remote(address):
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


def describe(address: str) -> tuple[int, int]:
    """Return the size in bytes and the time of the last change, in nanoseconds since 1970, of an object in a store.

    Raises:
        ProgeoError: there is none, or the store cannot be reached.
    """
    store, key = _open(address)
    try:
        found = store.head(key)
    except FileNotFoundError as error:
        raise ProgeoError(f"There is no image {address}.") from error
    except Exception as error:
        raise explain(address, error) from error
    return int(found["size"]), int(found["last_modified"].timestamp() * 1e9)


def write(address: str, content: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        ProgeoError: it cannot be written.
    """
    if not is_remote(address):
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
    if not is_remote(folder):
        return sorted(path.name for path in Path(folder).glob(f"*{ending}"))
    store, prefix = _open(folder)
    try:
        found = [entry["path"] for entries in store.list(f"{prefix.rstrip('/')}/") for entry in entries]
    except Exception as error:
        raise explain(folder, error) from error
    return sorted(path.rpartition("/")[2] for path in found if path.endswith(ending))


def check_commits(address: str) -> None:
    """Refuse an object store that writes over what is there though it is told not to.

    Every change of a database is a file that must not be there yet. A store that ignores this condition loses what one
    of two writers has stored, and neither hears of it.

    Raises:
        ProgeoError: it is such a store, or cannot be reached or written to.
    """
    if not address.startswith("s3://"):  # the others have always had it
        return
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
    text = SECRETS.sub(r"\1\3…", " ".join(str(error).split()))
    lowered = text.lower()
    if "credential" in lowered or "imds" in lowered or "169.254.169.254" in lowered:
        reason = (
            "there are no credentials. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT where it is "
            "not Amazon's"
        )
    elif any(
        sign in text for sign in ("403", "AccessDenied", "Forbidden", "PermissionDenied", "Unauthenticated", "401")
    ):
        reason = "the credentials are refused. Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and what they may do"
    elif "error sending request" in lowered or "connect" in lowered or "dns" in lowered:
        reason = "it cannot be reached. Check the address, AWS_ENDPOINT and the network"
    else:
        reason = text[:300]
    return ProgeoError(f"The object store of {address} does not answer as it should: {reason}.")


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
