"""Object stores: what lies at an address such as ``s3://bucket/photo.jpg``, and why it cannot be read."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from progeo.errors import ProgeoError, require

NO_CREDENTIALS = (
    "there are no credentials for the object store. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT "
    "where it is not Amazon's"
)
SECRETS = re.compile(
    r"(?i)((?:secret|token|signature|credential|access_?key|password)\w*)([\"']?\s*[=:]\s*[\"']?)[^\s\"',;&]+"
)
"""What may stand in errors of object stores, and is nobody's business."""


def has_credentials() -> bool:
    """Whether there is anything that tells Amazon's protocol who asks."""
    names = "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"
    return any(name in os.environ for name in names) or "AWS_SKIP_SIGNATURE" in os.environ


def describe_trouble(text: str) -> str:
    """Return what is wrong with an object store, out of the text of its error, without any credentials."""
    text = SECRETS.sub(r"\1\2…", text)
    lowered = text.lower()
    if "169.254.169.254" in text or "credentials" in lowered:
        return NO_CREDENTIALS
    if any(sign in text for sign in ("403", "401", "AccessDenied", "PermissionDenied", "SignatureDoesNotMatch")):
        return "the credentials are refused. Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and what they may do"
    if any(sign in lowered for sign in ("kind: connect", "error sending request", "connect error", "dns error")):
        return "the object store cannot be reached. Check the address, AWS_ENDPOINT and the network"
    return text


def is_remote(address: str | Path) -> bool:
    """Whether an address is one of an object store instead of a folder or file."""
    return "://" in str(address)


def read(address: str) -> bytes | None:
    """Return the content of an object; None where there is none.

    Raises:
        ProgeoError: the store cannot be reached or read.
    """
    store, key = open_store(address)
    try:
        content: bytes = store.get(key).bytes().to_bytes()
    except FileNotFoundError:
        return None
    except Exception as error:
        raise explain(address, error) from error
    return content


def read_photo(address: str) -> bytes:
    """Return the content of a photo.

    Raises:
        ProgeoError: there is no such object, or the store cannot be reached or read.
    """
    content = read(address)
    if content is None:
        raise ProgeoError(f"There is no image {address}.")
    return content


def describe(path: str) -> tuple[str, int, int]:
    """Return where a photo is, a file or an object, its size in bytes, and when it changed, in nanoseconds since 1970.

    Raises:
        OSError: there is no such file.
        ProgeoError: there is no such object, or the store cannot be reached or read.
    """
    if not is_remote(path):
        status = Path(path).stat()
        return str(Path(path).absolute()), status.st_size, status.st_mtime_ns
    store, key = open_store(path)
    try:
        found = store.head(key)
    except FileNotFoundError as error:
        raise ProgeoError(f"There is no image {path}.") from error
    except Exception as error:
        raise explain(path, error) from error
    return path, int(found["size"]), int(found["last_modified"].timestamp() * 1e9)


def list_files(folder: str) -> list[str]:
    """Return the addresses of all objects below a folder, sorted; none where there is no such folder.

    Raises:
        ProgeoError: the store cannot be reached or read.
    """
    store, prefix = open_store(folder)
    bucket = folder.removesuffix(prefix).rstrip("/")
    below = f"{prefix.rstrip('/')}/" if prefix else None
    try:
        return sorted(f"{bucket}/{entry['path']}" for entries in store.list(below) for entry in entries)
    except Exception as error:
        raise explain(folder, error) from error


def explain(address: str, error: Exception) -> ProgeoError:
    """Return the error of an object store in a sentence that gives away no credentials."""
    reason = describe_trouble(" ".join(str(error).split()))
    return ProgeoError(f"{address} cannot be read or written: {reason[:400]}.")


@lru_cache(maxsize=16)
def _open_bucket(bucket: str) -> Any:
    stores = require("obstore.store", "An object store")
    settings = {"client_options": {"allow_http": True, "connect_timeout": "5s", "timeout": "60s"}}
    settings["retry_config"] = {"max_retries": 2}
    return stores.from_url(bucket, **settings)


def open_store(address: str) -> tuple[Any, str]:
    """Return the store of an address, and what is behind the bucket."""
    scheme, _, rest = address.partition("://")
    bucket, _, key = rest.partition("/")
    try:
        return _open_bucket(f"{scheme}://{bucket}"), key
    except ProgeoError:
        raise
    except Exception as error:
        raise explain(address, error) from error
