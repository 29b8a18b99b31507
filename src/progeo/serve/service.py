"""What all requests share: the database, the queue of the model, and threads for decoding and searching."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from fastapi import HTTPException

from progeo.cli.serve import ServeOptions
from progeo.pixels.prefetch import count_readers
from progeo.serve.batching import Batcher
from progeo.serve.clusters import PlacesMap
from progeo.serve.metrics import Metrics
from progeo.serve.uploads import read_upload

if TYPE_CHECKING:
    from progeo.locating.estimate import Estimate
    from progeo.locating.prior import Prior
    from progeo.places.database import PlaceDatabase

Result = TypeVar("Result")
MEGA = 1_000_000


class Service:
    """Photos in, estimates out, for many requests at a time. Use it as a context manager."""

    def __init__(self, database: PlaceDatabase, options: ServeOptions, metrics: Metrics) -> None:
        """Take an open database and start the threads."""
        self._take(database)
        self.metrics = metrics
        self.batcher = Batcher(
            metrics.measure_batches(lambda images: self.database.describe_images(images)),
            batch_size=options.infer_batch_size,
            max_waiting=options.max_waiting,
        )
        self._options = options
        self._renewing = Lock()
        # No more threads than reading needs: each may hold a decoded photo, so their number bounds the memory.
        self._threads = ThreadPoolExecutor(count_readers(options.num_workers), thread_name_prefix="progeo-serve")

    def renew(self) -> None:
        """Go over to the database as it is now, where it has been rebuilt or calibrated meanwhile."""
        with self._renewing:
            database = self.database.renew()
            if database is not self.database:
                self._take(database)

    def _take(self, database: PlaceDatabase) -> None:
        """Use a database from now on; its model is loaded first."""
        self._image_size = database.model.preprocessing.image_size
        self._places = PlacesMap(database.positions())
        self.database = database

    @property
    def places(self) -> PlacesMap:
        """The database as a map, drawn anew when photos have come or gone."""
        if self._places.total != len(self.database):
            self._places = PlacesMap(self.database.positions())
        return self._places

    async def locate(self, photos: list[tuple[str, BinaryIO]], prior: Prior | None) -> list[Estimate]:
        """Return the estimates of photos, given as names and files, in their order.

        Raises:
            Busy: too many photos are waiting already.
            HTTPException: there are too many photos, or one cannot be read, and the message names it; or the database
                has got another model meanwhile.
        """
        if len(photos) > self._options.max_images:
            raise HTTPException(413, f"{len(photos)} photos are too many; send at most {self._options.max_images}.")
        fingerprint = self.database.fingerprint
        max_pixels = int(self._options.max_megapixels * MEGA)
        with self.batcher.admit(len(photos)):
            images = [
                await self._run(read_upload, file, name, max_pixels=max_pixels, image_size=self._image_size)
                for name, file in photos
            ]
            descriptors = await asyncio.wrap_future(self.batcher.submit(images))
            database = self.database
            if database.fingerprint != fingerprint:  # nobody knows which of the two models has described the photos
                raise HTTPException(
                    503, "The database has just got another model. Please send the photos again.", {"Retry-After": "1"}
                )
            return await self._run(
                database.locate_descriptors,
                descriptors,
                prior=prior,
                min_confidence=self._options.min_confidence,
            )

    async def _run(self, function: Callable[..., Result], *arguments: Any, **settings: Any) -> Result:
        """Run a function in one of the threads."""
        work = partial(function, *arguments, **settings)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def __enter__(self) -> Service:
        """Return the service itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.batcher.close()
