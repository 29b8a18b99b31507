"""A database that knows places by their colour, and services of it: on a port of this machine, or without one."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from progeo.data.table import read_photos
from progeo.errors import ProgeoError
from progeo.locating.estimate import Estimate, Match
from progeo.locating.prior import NoPhotoFitsError, Prior
from progeo.pixels.recipe import Preprocessing
from progeo.places.database import PlaceDatabase
from progeo.search.rerank import Query, Reranker, no_rerank
from progeo.serve.app import create_app
from progeo.serve.batching import Descriptors, Pixels
from progeo.serve.connections import Connection
from progeo.serve.server import listen
from progeo.serve.service import Limits

from ..places.conftest import make_network

Colour = tuple[int, int, int]


class ColourEncoder:
    """Describes photos by their mean colour.

    ``before_describing`` runs ahead of the model, for tests that make it slow or fail.
    """

    preprocessing = Preprocessing(image_size=16)
    descriptor_dim = 3
    batch_size = 16
    num_workers: int | None = None
    engine = SimpleNamespace(name="colours")

    def __init__(self) -> None:
        self.before_describing: Callable[[list[Pixels]], None] = lambda images: None

    def encode_pixels(self, items: Iterable[tuple[int, Pixels]]) -> Iterator[tuple[list[int], Descriptors]]:
        keys, images = zip(*items, strict=True)
        self.before_describing(list(images))
        yield list(keys), np.stack([image.mean(axis=(0, 1), dtype=np.float32) for image in images])


class ColourDatabase:
    """Photos of one colour each, 20 metres apart going north; whatever is nearest in colour is the place."""

    def __init__(self, colours: list[Colour]) -> None:
        self.address = self.fingerprint = "photos"
        self.encoder = ColourEncoder()
        self.calibration: object = "learned"
        self.local_frame = False
        self.pinned = False
        self.version = 1
        self.colours = np.array(colours, dtype=np.float32)
        self.ids = [f"{row:064x}" for row in range(len(colours))]
        self.latitudes = [52.5 + 0.00018 * row for row in range(len(colours))]
        self.priors: list[Prior | None] = []
        self.confidences: list[tuple[float | None, bool]] = []

    def __len__(self) -> int:
        return len(self.ids)

    def __enter__(self) -> ColourDatabase:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def renew(self, *, anew: bool = False) -> ColourDatabase:
        return self

    def check_ready(self, min_confidence: float | None = None) -> None:
        pass

    def warm_up(self) -> None:
        pass

    def create_reranker(self, name: str, **settings: object) -> Reranker:
        return no_rerank

    def locate_descriptors(
        self,
        descriptors: Descriptors,
        *,
        queries: Sequence[Query] | None = None,
        prior: Prior | None = None,
        rerank: Reranker = no_rerank,
        min_confidence: float | None = None,
        even_unknown: bool = False,
    ) -> list[Estimate]:
        for query, descriptor in zip(queries or (), descriptors, strict=queries is not None):
            np.testing.assert_array_equal(query().mean(axis=(0, 1), dtype=np.float32), descriptor)
        self.priors.append(prior)
        self.confidences.append((min_confidence, even_unknown))
        if prior and prior.near and prior.near[0] < 0:
            raise NoPhotoFitsError(f"No photo of the database is {prior.describe()}. Please widen the search.")
        return [self._locate(descriptor) for descriptor in descriptors]

    def _locate(self, descriptor: Descriptors) -> Estimate:
        distances = np.abs(self.colours - descriptor).sum(axis=1) / 765
        nearest = [int(row) for row in distances.argsort()[:3]]
        matches = [
            Match(
                id=self.ids[row],
                path=f"/home/someone/secret/photo_{row}.jpg",
                latitude=self.latitudes[row],
                longitude=13.4,
                heading=90.0,
                timestamp=datetime(2024, 5, 1, 12, 30),
                descriptor_distance=float(distances[row]),
                distance_metres=20.0 * abs(row - nearest[0]),
                weight=1.0 if row == nearest[0] else 0.0,
            )
            for row in nearest
        ]
        return Estimate(
            latitude=self.latitudes[nearest[0]],
            longitude=13.4,
            radius_metres=12.0,
            agreement=0.8,
            probability=0.95 if self.calibration else None,
            presence=0.97 if self.calibration else None,
            calibration="queries" if self.calibration else None,
            calibrated=self.calibration is not None,
            known=True if self.calibration else None,
            matches=matches,
        )

    def positions(self) -> pl.DataFrame:
        heading = pl.Series("heading", [90.0] * len(self), dtype=pl.Float64)
        return pl.DataFrame({"id": self.ids, "latitude": self.latitudes, "longitude": [13.4] * len(self)}).with_columns(
            heading
        )

    def thumbnail(self, id: str) -> bytes:
        if id not in self.ids:
            raise ProgeoError(f"There is no photo {id} in the database.")
        red, green, blue = (int(value) for value in self.colours[self.ids.index(id)])
        return make_photo((red, green, blue))


def fill_database(folder: Path, tiny_city: Path) -> PlaceDatabase:
    """Make a place database of the tiny city's eight places."""
    database = PlaceDatabase.create(folder, make_network())
    database.add(read_photos(tiny_city / "test/database", None))
    return database


def make_photo(colour: Colour, size: tuple[int, int] = (48, 32), format: str = "PNG", **settings: Any) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, colour).save(content, format=format, **settings)
    return content.getvalue()


def choose_colours(count: int) -> list[Colour]:
    """Colours far enough apart to be told from each other."""
    levels = range(10, 256, 30)
    colours = [(red, green, blue) for red in levels for green in levels for blue in levels]
    generator = np.random.default_rng(0)
    return [colours[index] for index in generator.permutation(len(colours))[:count]]


@pytest.fixture
def database() -> ColourDatabase:
    return ColourDatabase(choose_colours(60))


def make_app(database: PlaceDatabase | ColourDatabase, *, max_seconds: float = 30, **options: Any) -> FastAPI:
    """A service with these limits and settings."""
    limits = {name: options.pop(name) for name in [*options] if name.startswith("max_")}
    return create_app(database, limits=Limits(max_seconds=max_seconds, **limits), **options)  # type: ignore[arg-type]


@contextmanager
def connect(app: FastAPI) -> Iterator[TestClient]:
    """Return a client of a service that has no port."""
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@contextmanager
def serve(app: Any) -> Iterator[str]:
    """Run a service on a free port of this machine and return its address."""
    with listen("127.0.0.1", 0) as listener:
        http = partial(Connection, listener)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", loop="asyncio", http=http, ws="none"))  # type: ignore[arg-type]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
