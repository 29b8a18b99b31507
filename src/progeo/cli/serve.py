"""``progeo serve``."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from functools import partial

from jsonargparse.typing import PositiveFloat, PositiveInt

from progeo.cli.options import EstimateOptions, PortNumber, option
from progeo.cli.places import OPENSTREETMAP, check_tiles, create_reranker, describe_engine, open_database, say
from progeo.errors import ProgeoError


@dataclass(kw_only=True)
class ServeOptions(EstimateOptions):
    """Serving"""

    host: str = option(
        "127.0.0.1",
        "address to listen on. The default lets only this machine in; 0.0.0.0 lets everybody in who can reach it, so "
        "set --token too",
    )
    port: PortNumber = option(8000, "port to listen on; 0 takes any free one")
    token: str | None = option(
        None,
        "whoever asks must send this: Authorization: Bearer TOKEN. The web page asks for it. Put it into a "
        "--config file, as others on the machine can see a command's options",
    )
    database_version: str | None = option(
        None,
        "stay at this version of the database and only read: a name that progeo database tag has given, or a number. "
        "After the name has moved, the signal SIGHUP lets the service follow. Without it, changes count within seconds",
    )
    index_cache_gb: PositiveFloat = option(
        6, "gigabytes of memory for the index of a large database, which takes 81 bytes a photo of 512 dimensions"
    )
    tiles: str | None = option(
        None,
        "address of map tiles, with {z}, {x} and {y}, such as https://tile.openstreetmap.org/{z}/{x}/{y}.png. Without "
        "it the map shows the database on a plain ground, and the page loads nothing from elsewhere",
    )
    tiles_attribution: str = option(OPENSTREETMAP, "whom the map names as the source of its tiles")
    max_upload_mb: PositiveFloat = option(32, "size of a request in megabytes")
    max_megapixels: PositiveFloat = option(64, "size of a photo in millions of pixels")
    max_images: PositiveInt = option(16, "photos in a request")
    max_waiting: PositiveInt = option(64, "photos waiting or in work; requests beyond it are told to come back (429)")
    max_seconds: PositiveFloat = option(30, "time for a request, upload included")


def run(options: ServeOptions) -> None:
    """Answer until interrupted; the port is taken before anything slow is begun."""
    check(options)
    from progeo.serve.app import create_app
    from progeo.serve.server import choose_allowed_hosts, listen, run_server
    from progeo.serve.service import Limits
    from progeo.serve.warming import run_model

    opening = {"version": read_version(options.database_version), "index_cache_gb": options.index_cache_gb}
    with listen(options.host, options.port) as listener, open_database(options, **opening) as database:
        database.check_ready(options.min_confidence)  # an error at once
        describe_engine(database)
        run_model(database)  # an error at once
        app = create_app(
            database,
            limits=Limits(**{limit.name: getattr(options, limit.name) for limit in dataclasses.fields(Limits)}),
            min_confidence=options.min_confidence,
            even_unknown=options.even_unknown,
            token=options.token,
            cold=True,
            make_reranker=partial(create_reranker, options=options),
            tiles=options.tiles,
            tiles_attribution=options.tiles_attribution,
            allowed_hosts=choose_allowed_hosts(options.host, options.token),
        )
        announce(options, listener.getsockname()[1], len(database))
        run_server(app, listener)
    say("Stopped.")


def read_version(text: str | None) -> int | str | None:
    """Return the number or the name of a version."""
    return int(text) if text is not None and text.isdecimal() else text


def check(options: ServeOptions) -> None:
    """Refuse a token that no header can carry, and tiles that no map can show.

    Raises:
        ProgeoError: the message says what to give instead.
    """
    if options.token is not None and not re.fullmatch(r"[!-~]+", options.token):
        raise ProgeoError("--token must be letters, digits and signs of ASCII, without spaces.")
    check_tiles(options.tiles)


def announce(options: ServeOptions, port: int, photos: int) -> None:
    """Say where the page is, and who can reach it."""
    from progeo.serve.server import is_loopback

    everywhere = options.host in ("0.0.0.0", "::")
    host = "localhost" if everywhere else f"[{options.host}]" if ":" in options.host else options.host
    say(f"{photos:,} photos of {options.database}, on a map at http://{host}:{port} (Ctrl-C stops)")
    if not is_loopback(options.host) and options.token is None:
        say(
            f"Warning: with --host {options.host} everybody who can reach this machine can see these photos and use "
            "the service. --token lets in only those who know it.",
            style="yellow",
        )
