"""What the commands with a place database share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from progeo.cli.options import EstimateOptions, PlaceOptions, engine_settings
from progeo.cli.spelling import say
from progeo.errors import ProgeoError

if TYPE_CHECKING:
    from progeo.places.database import PlaceDatabase
    from progeo.search.rerank import Reranker


TILES = re.compile(r"(https?://[\w.{}-]+(:\d+)?)?/(?!/)\S*")
OPENSTREETMAP = "© OpenStreetMap contributors"


def check_tiles(address: str | None, *, starts: tuple[str, ...] = ("https://", "http://", "/")) -> None:
    """Refuse an address of map tiles that no map can show; ``starts``: what it may start with.

    Raises:
        ProgeoError: the message says what to give instead.
    """
    placeholders = ("{z}", "{x}", "{y}")
    if address is not None and not (
        TILES.fullmatch(address) and address.startswith(starts) and all(part in address for part in placeholders)
    ):
        raise ProgeoError(
            f"--tiles {address}: give an address that starts with {' or '.join(starts)} and has "
            f"{', '.join(placeholders)} in it, such as https://tile.openstreetmap.org/{{z}}/{{x}}/{{y}}.png."
        )


def database_settings(options: PlaceOptions) -> dict[str, Any]:
    """Return how a command's options say that photos are encoded."""
    return {
        "trust_remote_code": options.trust_remote_code,
        "device": options.device,
        **engine_settings(options),
        "batch_size": options.infer_batch_size,
        "num_workers": options.num_workers,
        "show_progress": True,
    }


def open_database(options: PlaceOptions, **further: Any) -> PlaceDatabase:
    """Open the database that a command is given, and say what encodes photos."""
    from progeo.places.database import PlaceDatabase

    database = PlaceDatabase.open(options.database, **further, **database_settings(options))
    describe_reading(database)
    return database


def describe_reading(database: PlaceDatabase) -> None:
    """Say in one line which model encodes photos, and at what size."""
    spec = database.spec
    untrained = ", untrained" if spec.provenance.get("untrained") else ""
    say(f"Model: {spec.describe()}{untrained}; photos at {database.preprocessing.describe()}")


def read_position(text: str, or_else: str = "") -> tuple[float, float]:
    """Return the two numbers of ``LAT,LON``, or of what else a message is to name."""
    try:
        first, second = map(float, text.split(","))
    except ValueError as error:
        raise ProgeoError(
            f"`near` {text}: please give latitude and longitude in degrees with a comma between, as 45.4432,9.2179"
            f"{or_else}."
        ) from error
    return first, second


def create_reranker(database: PlaceDatabase, options: EstimateOptions) -> Reranker:
    """Return the reranker that the options ask for."""
    return database.create_reranker(options.rerank, candidates=options.candidates, cache_folder=options.cache_folder)


def describe_engine(database: PlaceDatabase) -> None:
    """Load the model, and say in one line what runs it."""
    say(f"Engine: {database.encoder.engine.name}")
