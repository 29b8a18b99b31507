"""``progeo serve``: opens the database, takes the port, says where the page is, and answers until stopped."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
from contextlib import suppress

import torch
import uvicorn

from progeo.cli.serve import ServeOptions
from progeo.console import console
from progeo.errors import ProgeoError
from progeo.places.database import PlaceDatabase
from progeo.serve.app import create_app

# A browser opens up to six connections; past this many the answer is 503 at once.
MAX_CONNECTIONS = 512
SECONDS_TO_FINISH = 5
TILES = re.compile(r"(https?://[\w.{}-]+(:\d+)?)?/(?!/)\S*")
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def run_server(options: ServeOptions) -> None:
    """Run ``progeo serve`` until it is interrupted.

    Raises:
        ProgeoError: an option cannot be, the database cannot be opened, or the port cannot be had.
    """
    check_options(options)
    listener = listen(options.host, options.port)
    with listener, PlaceDatabase.open(options.database, device=options.device) as database:
        warm_up(database)
        app = create_app(database, options, allowed_hosts=choose_allowed_hosts(options))
        config = uvicorn.Config(
            app,
            log_level="warning",
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=SECONDS_TO_FINISH,
        )
        announce(options, listener.getsockname()[1], len(database))
        with suppress(KeyboardInterrupt):  # uvicorn repeats the Ctrl-C that ended it
            uvicorn.Server(config).run(sockets=[listener])
    console.print("Stopped.")


def warm_up(database: PlaceDatabase) -> None:
    """Load the model and run it once, so that the first photo is answered as fast as all others.

    Raises:
        ProgeoError: there is nothing to compare a photo with.
    """
    if len(database) == 0:
        raise ProgeoError(
            f"The place database {database.address} is empty. Add photos with: progeo index PHOTOS --database "
            f"{database.address}"
        )
    size = database.model.preprocessing.image_size
    database.locate_descriptors(database.describe_images([torch.zeros(3, size, size, dtype=torch.uint8)]))


def check_options(options: ServeOptions) -> None:
    """Refuse a token that no header can carry, and tiles that no map can show.

    Raises:
        ProgeoError: the message says what to give instead.
    """
    if options.token is not None and not re.fullmatch(r"[!-~]+", options.token):
        raise ProgeoError("--token must be letters, digits and signs of ASCII, without spaces.")
    tiles = options.tiles
    placeholders = ("{z}", "{x}", "{y}")
    if tiles is not None and not (TILES.fullmatch(tiles) and all(part in tiles for part in placeholders)):
        raise ProgeoError(
            f"--tiles {tiles}: give an address that starts with https://, http:// or / and has "
            f"{', '.join(placeholders)} in it, such as https://tile.openstreetmap.org/{{z}}/{{x}}/{{y}}.png."
        )


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens, before anything slow is begun.

    Raises:
        ProgeoError: the port is taken or not allowed, or the host is none of this machine's.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        advice = {
            errno.EADDRINUSE: "Another program uses it; stop that one, or choose another with --port.",
            errno.EACCES: "Ports below 1024 take special rights; choose another with --port.",
            errno.EADDRNOTAVAIL: "This machine has no such address; choose another with --host.",
        }.get(error.errno or 0, f"{error.strerror or error}; check --host and --port.")
        raise ProgeoError(f"Cannot listen on port {port} of {host}. {advice}") from error


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach the host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def choose_allowed_hosts(options: ServeOptions) -> frozenset[str] | None:
    """Return the names a service for this machine alone answers to; with a token, or in a network, any will do."""
    return LOOPBACK_NAMES | {options.host} if is_loopback(options.host) and options.token is None else None


def announce(options: ServeOptions, port: int, photos: int) -> None:
    """Say where the page is, and who can reach it."""
    everywhere = options.host in ("0.0.0.0", "::")
    host = "localhost" if everywhere else f"[{options.host}]" if ":" in options.host else options.host
    console.print(
        f"{photos:,} photos of {options.database}, on a map at http://{host}:{port} (Ctrl-C stops)",
        markup=False,
        soft_wrap=True,
    )
    if not is_loopback(options.host) and options.token is None:
        console.print(
            f"Warning: with --host {options.host} everybody who can reach this machine can see these photos and use "
            "the service. --token lets in only those who know it.",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )
