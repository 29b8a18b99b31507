"""What the service tells Prometheus about itself."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from progeo.serve.batching import Descriptors, Pixels

Describe = Callable[[list[Pixels]], Descriptors]
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counters of one service, in a registry of their own so that two services in one process do not mix."""

    def __init__(self, photos: Callable[[], int], version: Callable[[], int], waiting: Callable[[], int]) -> None:
        """Take the functions that say how many photos the database has, at which version, and how many images wait."""
        self._registry = CollectorRegistry()
        self._requests = Counter("progeo_requests", "Requests answered.", ("path", "status"), registry=self._registry)
        self._seconds = Histogram(
            "progeo_request_seconds", "From request to answer.", ("path",), buckets=SECONDS, registry=self._registry
        )
        self._batches = Histogram(
            "progeo_batch_images", "Images per batch.", buckets=(1, 2, 4, 8, 16, 32, 64), registry=self._registry
        )
        self._model_seconds = Histogram(
            "progeo_batch_seconds", "Time of the model for a batch.", buckets=SECONDS, registry=self._registry
        )
        Gauge("progeo_database_photos", "Photos in the database.", registry=self._registry).set_function(photos)
        Gauge("progeo_database_version", "Version of the photos.", registry=self._registry).set_function(version)
        Gauge("progeo_waiting_images", "Images waiting or in work.", registry=self._registry).set_function(waiting)

    def format(self) -> bytes:
        """Return all figures as Prometheus reads them."""
        return generate_latest(self._registry)

    def measure_requests(self, app: ASGIApp) -> ASGIApp:
        """Return the service with its requests counted and timed by route."""

        async def measured(scope: Scope, receive: Receive, send: Send) -> None:
            status = 500
            start = time.perf_counter()

            async def send_and_note(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            try:
                await app(scope, receive, send_and_note)
            finally:
                if scope["type"] == "http":
                    path = getattr(scope.get("route"), "path", "other")
                    self._requests.labels(path, status).inc()
                    self._seconds.labels(path).observe(time.perf_counter() - start)

        return measured

    def measure_batches(self, describe: Describe) -> Describe:
        """Return ``describe`` with its batches counted and timed."""

        def measured(images: list[Pixels]) -> Descriptors:
            self._batches.observe(len(images))
            with self._model_seconds.time():
                return describe(images)

        return measured
