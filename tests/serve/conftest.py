"""A database that knows places by their colour, and services of it: on a port of this machine, or without one."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import torch
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from progeo.cli.serve import ServeOptions
from progeo.data.table import read_photos
from progeo.errors import ProgeoError
from progeo.locating.estimate import Estimate, Match
from progeo.locating.prior import NoPhotoFitsError, Prior
from progeo.places.database import PlaceDatabase
from progeo.serve.app import create_app
from progeo.serve.serve import listen

from ..places.conftest import make_network

Colour = tuple[int, int, int]


class ColourDatabase:
    """Photos of one colour each, 20 metres apart going north; whatever is nearest in colour is the place.

    ``before_describing`` runs ahead of the model, for tests that make it slow or fail.
    """

    def __init__(self, colours: list[Colour]) -> None:
        self.address = self.fingerprint = "photos"
        self.model = SimpleNamespace(preprocessing=SimpleNamespace(image_size=16))
        self.colours = np.array(colours, dtype=np.float32)
        self.ids = [f"{row:064x}" for row in range(len(colours))]
        self.latitudes = [52.5 + 0.00018 * row for row in range(len(colours))]
        self.before_describing: Callable[[list[torch.Tensor]], None] = lambda images: None
        self.priors: list[Prior | None] = []

    def __len__(self) -> int:
        return len(self.ids)

    def __enter__(self) -> ColourDatabase:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def renew(self) -> ColourDatabase:
        return self

    def describe_images(self, images: list[torch.Tensor]) -> npt.NDArray[np.float32]:
        self.before_describing(images)
        return np.stack([image.float().mean(dim=(1, 2)).numpy() for image in images])

    def locate_descriptors(
        self, descriptors: npt.NDArray[np.float32], *, prior: Prior | None = None, min_confidence: float | None = None
    ) -> list[Estimate]:
        self.priors.append(prior)
        if prior and prior.near and prior.near[0] < 0:
            raise NoPhotoFitsError(f"No photo of the database is {prior.describe()}. Please widen the search.")
        return [self._locate(descriptor) for descriptor in descriptors]

    def _locate(self, descriptor: npt.NDArray[np.float32]) -> Estimate:
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
        return Estimate(self.latitudes[nearest[0]], 13.4, 12.0, 0.9, 0.95, True, True, matches)

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


def make_app(
    database: PlaceDatabase | ColourDatabase, *, allowed_hosts: frozenset[str] | None = None, **options: Any
) -> FastAPI:
    return create_app(database, ServeOptions(database="photos", **options), allowed_hosts=allowed_hosts)


@contextmanager
def connect(app: FastAPI) -> Iterator[TestClient]:
    """Return a client of a service that has no port."""
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@contextmanager
def serve(app: Any) -> Iterator[str]:
    """Run a service on a free port of this machine and return its address."""
    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
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
