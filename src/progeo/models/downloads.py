"""Fetching weights from where their authors put them."""

from __future__ import annotations

import errno
import http.client
import urllib.request
from pathlib import Path

from progeo.console import progress_bar
from progeo.errors import ProgeoError
from progeo.files import atomic_write, read_bytes
from progeo.models.state_dicts import is_web_page


def download(address: str, path: Path) -> None:
    """Fetch ``address`` to ``path`` with a progress bar (MiB), atomically; an incomplete answer leaves no file.

    Raises:
        ProgeoError: the address cannot be reached, the answer is cut short, or is a web page; the message says what to
            do by hand.
    """
    with atomic_write(path) as temporary:
        try:
            received, announced = _fetch(address, temporary, path.name)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise
            raise ProgeoError(
                f"Cannot fetch {address} ({error}). Fetch it on a machine that can, and put it at {path}."
            ) from error
        if announced is not None and received != announced:
            raise ProgeoError(
                f"The download of {address} broke off: {received} of {announced} bytes arrived. Please try again, or "
                f"fetch it by hand and put it at {path}."
            )
        if is_web_page(read_bytes(temporary, 1024)):
            raise ProgeoError(
                f"{address} answers with a web page in place of the weights, as a proxy or a login does. Fetch the "
                f"file by hand and put it at {path}."
            )


def _fetch(address: str, path: Path, description: str) -> tuple[int, int | None]:
    """Copy ``address`` to ``path``; return how many bytes arrived and how many were announced, if that was said."""
    mebibyte = 2**20
    with urllib.request.urlopen(address, timeout=30) as answer, path.open("wb") as file, progress_bar() as progress:
        length = answer.headers.get("Content-Length")
        announced = int(length) if length else None
        task = progress.add_task(f"{description} (MiB)", total=announced / mebibyte if announced else None)
        received = 0
        while chunk := answer.read(mebibyte):
            file.write(chunk)
            received += len(chunk)
            progress.update(task, completed=received / mebibyte)
    return received, announced
