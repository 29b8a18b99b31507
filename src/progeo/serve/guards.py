"""What stands between the network and the service: who may ask, how much, for how long, and what pages may load."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from contextvars import ContextVar

import anyio
from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# What a page needs before it can ask for the token. It holds nothing of the database.
OPEN_PATHS = frozenset({"/", "/docs", "/openapi.json", "/api/health", "/api/ready"})
OPEN_FOLDER = "/static/"
LONGEST_PATH = 100
"""Characters of a path that the log shows."""
PORT = re.compile(r":\d*$")
current_request: ContextVar[str] = ContextVar("current_request", default="A request")
"""What the log calls the request that is being answered."""


class Guard:
    """Middleware around the whole service; everything it refuses is answered before a photo is read."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_bytes: int,
        max_seconds: float,
        headers: Mapping[str, str],
        token: str | None = None,
        allowed_hosts: frozenset[str] | None = None,
    ) -> None:
        """Put the guard around ``app``.

        Args:
            app: the service.
            max_bytes: size of a request's body.
            max_seconds: from the request's first byte to the answer's.
            headers: set on every answer.
            token: what ``Authorization: Bearer`` must carry, for all but ``OPEN_PATHS`` and ``OPEN_FOLDER``.
            allowed_hosts: names that the service may be called by. Without this check any web page could point a
                domain of its own at 127.0.0.1 and read the answers (DNS rebinding).
        """
        self.app = app
        self.max_bytes = max_bytes
        self.max_seconds = max_seconds
        self.headers = headers
        self.token = token
        self.allowed_hosts = allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False
        host, port = scope.get("client") or ("unknown", 0)
        current_request.set(f"{scope['method']} {ascii(scope['path'])[1:-1][:LONGEST_PATH]} of {host}:{port}")

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    headers.setdefault(name, value)
            await send(message)

        async def answer(response: JSONResponse) -> None:
            if not started:
                await response(scope, receive, send_with_headers)

        refusal = self._refuse(scope)
        if refusal is not None:
            await answer(refusal)
            return
        try:
            with anyio.move_on_after(self.max_seconds) as deadline:
                await self.app(scope, self._limit(receive), send_with_headers)
        except Exception:
            await answer(make_problem(500, "The service failed; its log says why."))
            raise  # for the log
        if deadline.cancelled_caught:
            await answer(make_problem(503, f"This took longer than {self.max_seconds:g} s.", {"Retry-After": "5"}))

    def _refuse(self, scope: Scope) -> JSONResponse | None:
        """Return the answer to a request that is turned away for what its head says."""
        headers = Headers(scope=scope)
        host = PORT.sub("", headers.get("host", "")).strip("[]")
        if self.allowed_hosts is not None and host.lower() not in self.allowed_hosts:
            return make_problem(
                421, f"This service answers to {', '.join(sorted(self.allowed_hosts))} only, not to {host!r}."
            )
        if not self._may_enter(scope, headers):
            return make_problem(
                401, "Send the token of this service: 'Authorization: Bearer TOKEN'.", {"WWW-Authenticate": "Bearer"}
            )
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.max_bytes:
            return make_problem(413, self._too_large())
        return None

    def _may_enter(self, scope: Scope, headers: Headers) -> bool:
        """Tell whether the path is open or the request carries the token."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if self.token is None or path in OPEN_PATHS or path.startswith(OPEN_FOLDER):
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and secrets.compare_digest(given.encode(), self.token.encode())

    def _limit(self, receive: Receive) -> Receive:
        """Return ``receive`` that stops at a body larger than declared or declared not at all."""
        received = 0

        async def receive_within_limit() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                raise HTTPException(413, self._too_large())
            return message

        return receive_within_limit

    def _too_large(self) -> str:
        return f"The request is larger than {self.max_bytes / 1e6:g} MB. Send fewer or smaller photos."


def make_problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return a refusal in the form that all of them have, ``progeo.serve.answers.Problem``."""
    return JSONResponse({"detail": detail}, status, headers)


def make_security_headers(tiles: str | None) -> dict[str, str]:
    """Return the headers of every answer; images may also come from where the map tiles are.

    Args:
        tiles: address of the tiles with ``{z}``, ``{x}``, ``{y}``, or of a path on this server.
    """
    images = ["'self'", "blob:", "data:"]
    if tiles is not None and "//" in tiles:
        scheme, _, rest = tiles.partition("//")
        images.append(f"{scheme}//{rest.split('/')[0].replace('{s}', '*')}")
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": " ".join(images),
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {sources}" for name, sources in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        # The origin alone: map tile services ask for it.
        "Referrer-Policy": "strict-origin-when-cross-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        "Cache-Control": "no-cache",
    }
