"""A polite client: one request at a time, patient with a busy service, and only with hosts that it may ask.

What it raises says what went wrong without the query of an address, which can hold keys.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from importlib.metadata import metadata
from ipaddress import ip_address
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from progeo.errors import ProgeoError, require

if TYPE_CHECKING:
    import httpx

TRIES = 5
FIRST_WAIT = 2.0
"""Seconds before the second try, doubled for each further one, where the service does not say how long to wait."""
LONGEST_WAIT = 120.0
"""Seconds; a service that asks for more is left alone, and the run ends."""
TIMEOUT = 30.0
"""Seconds without a single byte."""
DEADLINE = 180.0
"""Seconds for a whole answer."""
LARGEST = 64 * 2**20
"""Bytes of an answer."""
MOST_REDIRECTS = 5


class FetchError(ProgeoError):
    """A request without a usable answer. ``reason`` is the same for all requests that fail in this way."""

    def __init__(self, message: str, reason: str) -> None:
        """Keep the message for people and the reason to count by."""
        super().__init__(message)
        self.reason = reason


class BusyError(FetchError):
    """The service does not answer, or not now: going on makes little sense."""


class DeniedError(FetchError):
    """The service does not let us: no token, a wrong one, or an address that has expired."""


class TooMuchError(FetchError):
    """The service asks for a smaller question."""


class Client:
    """Asks one service, and downloads what it offers.

    Attributes:
        hosts: host names whose addresses may be asked.
    """

    def __init__(
        self,
        title: str,
        hosts: Collection[str],
        *,
        contact: str | None = None,
        secrets: Collection[str] = (),
        pause: float = 1.0,
        say: Callable[[str], object] = lambda text: None,
    ) -> None:
        """Prepare a client.

        Args:
            title: what messages call the service.
            hosts: that may be asked; ``.example.org`` stands for all below it.
            contact: how the service can reach the user.
            secrets: texts that no message may hold.
            pause: seconds between two requests.
            say: is told where the service is waited for.
        """
        self.title, self.hosts, self._secrets = title, set(hosts), [text for text in secrets if text]
        self._pause, self._say = pause, say
        self._last = 0.0
        library = require("httpx", "Downloading pictures")
        # It would log whole addresses, which hold keys.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self._http: httpx.Client = library.Client(headers={"User-Agent": _name_progeo(contact)}, timeout=TIMEOUT)

    def __enter__(self) -> Client:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close its connections."""
        self._http.close()

    def ask(
        self, address: str, parameters: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Return the JSON object that the service answers.

        Raises:
            FetchError: there is none; ``BusyError``, ``DeniedError`` and ``TooMuchError`` say more.
        """
        content, kind = self._fetch(address, parameters, headers)
        try:
            answer = json.loads(content)
        except ValueError as error:
            what = "a web page" if "html" in kind or content.lstrip()[:1] == b"<" else f"{kind or 'something'}"
            raise FetchError(
                f"{self.title} answered {self._describe(address)} with {what} instead of JSON. Is there a proxy or a "
                "log-in page in between, or has the service moved?",
                "no JSON",
            ) from error
        if not isinstance(answer, dict):
            raise FetchError(
                f"{self.title} answered {self._describe(address)} with a {type(answer).__name__} instead of an object.",
                "unexpected JSON",
            )
        return answer

    def download(self, address: str) -> bytes:
        """Return the content of a picture; whether it is one is for the caller to see.

        Raises:
            FetchError: there is none.
        """
        content, kind = self._fetch(address, None, None)
        if "html" in kind or "json" in kind or content.lstrip()[:1] == b"<":
            raise FetchError(f"{self._describe(address)} is a web page and no picture.", "a web page, no picture")
        return content

    def allows(self, address: str) -> bool:
        """Whether the host of an address may be asked."""
        host = urlsplit(address).hostname or ""
        return any(host == known or (known.startswith(".") and host.endswith(known)) for known in self.hosts)

    def _fetch(
        self, address: str, parameters: Mapping[str, str] | None, headers: Mapping[str, str] | None
    ) -> tuple[bytes, str]:
        """Return content and its type; try again where it may help."""
        wait = FIRST_WAIT
        for attempt in range(1, TRIES + 1):
            try:
                return self._fetch_once(address, parameters, headers)
            except _NotNowError as error:
                if attempt == TRIES or error.wait > LONGEST_WAIT:
                    raise BusyError(
                        f"{self.title} does not answer {self._describe(address)}: {error}, "
                        + (f"and asks to wait {error.wait:.0f} s" if error.wait > LONGEST_WAIT else f"{attempt} times")
                        + ". Please run the same command later: what is there stays.",
                        str(error),
                    ) from error
                seconds = error.wait or wait
                self._say(f"{self.title}: {error}. Waiting {seconds:.0f} s …")
                wait_for(seconds)
                wait *= 2
        raise AssertionError

    def _fetch_once(
        self, address: str, parameters: Mapping[str, str] | None, headers: Mapping[str, str] | None
    ) -> tuple[bytes, str]:
        import httpx

        for _ in range(MOST_REDIRECTS):
            if not self.allows(address):
                host = urlsplit(address).hostname
                raise FetchError(
                    f"{self.title} leads to {host}, which is no host of it: not followed.",
                    f"at the foreign host {host}",
                )
            now = time.monotonic()
            wait_for(max(0.0, self._last + self._pause - now))
            try:
                with self._http.stream("GET", address, params=parameters, headers=headers) as answer:
                    content = self._read(answer)
            except httpx.TimeoutException as error:
                raise _NotNowError("no answer in time") from error
            except (httpx.TransportError, httpx.DecodingError) as error:
                raise _NotNowError(f"the connection failed ({type(error).__name__})") from error
            except httpx.InvalidURL as error:
                raise FetchError(f"{self.title} gives an address that is none.", "an impossible address") from error
            finally:
                self._last = time.monotonic()
            if not answer.has_redirect_location:
                return self._judge(answer, content, address)
            address, parameters = urljoin(str(answer.url), answer.headers["location"]), None
            if headers and urlsplit(address).hostname != answer.url.host:
                headers = None  # a token is for one host
        raise FetchError(f"{self._describe(address)} is redirected again and again.", "redirected again and again")

    def _read(self, answer: httpx.Response) -> bytes:
        """Return the body, within limits of size and time."""
        started, parts, size = time.monotonic(), [], 0
        for part in answer.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > LARGEST:
                raise FetchError(f"{self._describe(str(answer.url))} is larger than {LARGEST >> 20} MB.", "too large")
            if time.monotonic() - started > DEADLINE:
                raise _NotNowError("the answer is too slow")
        return b"".join(parts)

    def _judge(self, answer: httpx.Response, content: bytes, address: str) -> tuple[bytes, str]:
        """Return what a good answer holds, and raise what a bad one means."""
        status, kind = answer.status_code, answer.headers.get("content-type", "")
        if status == 200:
            return content, kind
        text = self._find_message(content)
        if "reduce the amount of data" in text:
            raise TooMuchError(f"{self.title}: {text}", "too many pictures")
        if status == 429 or status >= 500 or status == 102:
            raise _NotNowError(f"status {status}", _read_wait(answer.headers.get("retry-after", "")))
        message = f"{self.title} refuses {self._describe(address)} with status {status}" + (
            f": {text}" if text else "."
        )
        if status in (401, 403):
            raise DeniedError(message, f"status {status}")
        raise FetchError(message, f"status {status}")

    def _find_message(self, content: bytes) -> str:
        """Return what an answer says of an error, without secrets."""
        with suppress(ValueError, AttributeError):
            said = json.loads(content[:10_000])
            said = said.get("error", said)
            text = str(said.get("message", said.get("info", ""))) if isinstance(said, dict) else str(said)
            for secret in self._secrets:
                text = text.replace(secret, "…")
            return " ".join(text.split())[:300]
        return ""

    def _describe(self, address: str) -> str:
        """Return an address without its query."""
        parts = urlsplit(address)
        return f"{parts.hostname}{parts.path}"


class _NotNowError(Exception):
    """Trying again may help, after ``wait`` seconds if that is said."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


def _name_progeo(contact: str | None) -> str:
    """Return what tells a service who asks: version, address of the project, and how the user can be reached."""
    said = metadata("progeo")
    home = [address.partition(", ")[2] for address in said.get_all("Project-URL") or ()][:1]
    reachable = "; ".join([*home, *([contact] if contact else [])])
    return f"progeo/{said['Version']}" + (f" ({reachable})" if reachable else "")


def wait_for(seconds: float) -> None:
    """Do nothing for a while."""
    time.sleep(seconds)


def is_private(address: str) -> bool:
    """Whether an address is none of the public internet: no HTTPS, no host name, or a machine of this network."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    with suppress(ValueError):
        ip_address(host)
        return True
    return parts.scheme != "https" or "." not in host or host.endswith((".local", ".internal", ".localhost"))


def _read_wait(text: str) -> float:
    """Return the seconds of a Retry-After header, which may be a date; 0 where there is none."""
    if text.strip().isdigit():
        return float(text)
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(timezone.utc)).total_seconds())
    return 0.0
