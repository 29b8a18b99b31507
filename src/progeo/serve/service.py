"""What all requests share: the database, the queue of the model, processes that decode and threads that search."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np
from fastapi import HTTPException

from progeo.console import logger
from progeo.errors import ProgeoError
from progeo.locating.prior import NoPhotoFitsError
from progeo.pixels.prefetch import count_readers
from progeo.places.storage import StorageError
from progeo.search.explanation import Explanation
from progeo.search.rerank import Reranker, no_rerank
from progeo.search.verifier import Verifier
from progeo.serve.answers import refuse_content
from progeo.serve.batching import Batcher, Descriptors, Pixels
from progeo.serve.clusters import PlacesMap
from progeo.serve.decoding import Decoders
from progeo.serve.metrics import Metrics
from progeo.serve.warming import warm_up

if TYPE_CHECKING:
    from progeo.locating.estimate import Estimate
    from progeo.locating.prior import Prior
    from progeo.places.database import PlaceDatabase

Result = TypeVar("Result")
MEGA = 1_000_000
SECONDS_BETWEEN_TRIES = 2.0
"""To open the database anew, which costs a while, as long as something fails."""


class DatabaseLost(Exception):  # noqa: N818
    """The database cannot be read at the moment; the log says why, and the client need not know."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a service refuses to do."""

    max_upload_mb: float = 32
    """Size of a request in megabytes."""
    max_megapixels: float = 64
    """Size of a photo in millions of pixels."""
    max_images: int = 16
    """Photos in a request."""
    max_waiting: int = 64
    """Photos waiting or in work."""
    max_seconds: float = 30
    """Time for a request, upload included."""


class Service:
    """Photos in, estimates out, for many requests at a time. Use it as a context manager."""

    def __init__(
        self,
        database: PlaceDatabase,
        metrics: Metrics,
        limits: Limits,
        *,
        make_reranker: Callable[[PlaceDatabase], Reranker] = lambda database: no_rerank,
        min_confidence: float | None = None,
        even_unknown: bool = False,
    ) -> None:
        """Take an open database and start the threads; its encoder says how many, and how large batches are."""
        self._make_reranker = make_reranker
        self._take(database)
        self.metrics = metrics
        encoder = database.encoder
        self.batcher = Batcher(
            metrics.measure_batches(self._encode), batch_size=encoder.batch_size, max_waiting=limits.max_waiting
        )
        self._limits = limits
        self._min_confidence, self._even_unknown = min_confidence, even_unknown
        self._renewing = Lock()
        self._failing: set[str] = set()
        self._tried = 0.0
        # No more than reading needs, as each may hold a decoded photo.
        readers = count_readers(encoder.num_workers)
        self._decoders = Decoders(readers, max_pixels=int(limits.max_megapixels * MEGA), max_seconds=limits.max_seconds)
        self._threads = ThreadPoolExecutor(readers, thread_name_prefix="progeo-serve")
        self._warm, self._closed = Event(), Event()
        self._following = Lock()
        self._warm.set()

    @property
    def is_warm(self) -> bool:
        """Whether the first photo would be answered as fast as others; one that comes before is answered too."""
        return self._warm.is_set()

    def start_warming(self) -> None:
        """Begin to warm up, in a thread: reading the index of a large database takes a while."""
        self._warm.clear()
        Thread(target=self._warm_up, name="progeo-warming", daemon=True).start()

    def _warm_up(self) -> None:
        """Warm up, again and again where the database cannot be read or no process can be started."""
        while not self._closed.is_set():
            try:
                with self.reading("warm up"):
                    warm_up(self.database)
                self._warm.set()
                return
            except (DatabaseLost, OSError) as error:
                if isinstance(error, OSError):
                    logger.warning("The service cannot warm up: %s", error)
                self._closed.wait(SECONDS_BETWEEN_TRIES)

    def follow(self) -> None:
        """Begin to go over to the version that the database's tag stands for now."""
        Thread(target=self._follow, name="progeo-following", daemon=True).start()

    def _follow(self) -> None:
        """Answer from the old version until the new one is warm, or for ever where it cannot be read."""
        with self._following:
            try:
                database = self.database.renew(anew=True)
                warm_up(database)
                self._take(database)
            except ProgeoError as error:
                logger.warning("The service stays at version %d of the database: %s", self.database.version, error)
            else:
                logger.warning("The service is at version %d of the database.", database.version)

    def renew(self) -> None:
        """Go over to the database as it is now, where it has been rebuilt or calibrated meanwhile."""
        with self._renewing, self.reading("open the database"):
            # After a failure somebody may have made another database in the place of this one.
            anew = bool(self._failing) and time.monotonic() - self._tried > SECONDS_BETWEEN_TRIES
            if anew:
                self._tried = time.monotonic()
            database = self.database.renew(anew=anew)
            if database is not self.database:
                self._take(database)

    def _take(self, database: PlaceDatabase) -> None:
        """Use a database from now on; what takes long, such as loading its model, comes first."""
        preprocessing, places = database.encoder.preprocessing, PlacesMap(database.positions())
        rerank = self._make_reranker(database)
        self.database, self._preprocessing, self._places, self._rerank = database, preprocessing, places, rerank

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Turn a failure of the database into one line of the log, until it is over, and into ``DatabaseLost``."""
        try:
            yield
        except NoPhotoFitsError:
            raise
        except ProgeoError as error:
            if what not in self._failing:
                logger.warning("The service cannot %s: %s", what, error)
            self._failing.add(what)
            raise DatabaseLost from error
        if what in self._failing:
            self._failing.discard(what)
            logger.warning("The service can %s again.", what)

    def _encode(self, images: Sequence[Pixels]) -> Descriptors:
        """Return the descriptors (B, D) of pixels (H, W, 3) of any sizes."""
        encoder = self.database.encoder
        descriptors = np.empty((len(images), encoder.descriptor_dim), dtype=np.float32)
        for rows, batch in encoder.encode_pixels(enumerate(images)):
            descriptors[rows] = batch
        return descriptors

    @property
    def places(self) -> PlacesMap:
        """The database as a map, drawn anew when photos have come or gone."""
        with self.reading("list the photos"):
            if self._places.total != len(self.database):
                self._places = PlacesMap(self.database.positions())
            return self._places

    def count_photos(self) -> int:
        """Return how many photos the database has."""
        with self.reading("count the photos"):
            return len(self.database)

    def read_version(self) -> int:
        """Return which version of the photos is searched."""
        with self.reading("read the version"):
            return self.database.version

    def read_thumbnail(self, id: str) -> bytes:
        """Return the small JPEG of a photo of the database.

        Raises:
            HTTPException: there is none.
        """
        with self.reading("read thumbnails"):
            try:
                return self.database.thumbnail(id)
            except StorageError:
                raise
            except ProgeoError as error:
                raise HTTPException(404, str(error)) from error

    async def locate(
        self, photos: list[tuple[str, BinaryIO]], prior: Prior | None, *, rerank: bool = True
    ) -> list[Estimate]:
        """Return the estimates of photos, given as names and files, in their order; not re-ranked if not wished.

        Raises:
            Busy: too many photos are waiting already.
            HTTPException: there are too many photos, or one cannot be read, and the message names it; or the database
                has got another model meanwhile.
            NoPhotoFitsError: no photo of the database agrees with the prior.
            DatabaseLost: the database cannot be read.
        """
        if len(photos) > self._limits.max_images:
            raise HTTPException(413, f"{len(photos)} photos are too many; send at most {self._limits.max_images}.")
        fingerprint, preprocessing = self.database.fingerprint, self._preprocessing
        with self.batcher.admit(len(photos)):
            try:
                images = [await self._decoders.read(file, name, preprocessing) for name, file in photos]
            except ProgeoError as error:
                raise refuse_content(error) from error
            descriptors = await asyncio.wrap_future(self.batcher.submit(images))
            database = self.database
            if database.fingerprint != fingerprint:  # nobody knows which of the two models has described the photos
                raise HTTPException(
                    503, "The database has just got another model. Please send the photos again.", {"Retry-After": "1"}
                )
            # A rebuilt database is not calibrated, and then nothing is known of the probabilities asked for.
            with self.reading("search the database"):
                knows = database.calibration is not None
                return await self._run(
                    database.locate_descriptors,
                    descriptors,
                    queries=[lambda image=image: image for image in images],
                    prior=prior,
                    rerank=self._rerank if rerank else no_rerank,
                    min_confidence=self._min_confidence if knows else None,
                    even_unknown=self._even_unknown,
                )

    @property
    def compares(self) -> bool:
        """Whether details of photos can be compared: where photos are re-ranked by them."""
        return isinstance(self._rerank, Verifier)

    async def explain(self, name: str, file: BinaryIO, id: str) -> Explanation:
        """Return what of a photo and a photo of the database, by its id, agrees.

        Raises:
            Busy, HTTPException, DatabaseLost: as ``locate``; 404 where there is no such photo, or nothing compares.
        """
        verifier, database = self._rerank, self.database
        if not isinstance(verifier, Verifier):
            raise HTTPException(404, "This service does not compare details of photos: it runs without re-ranking.")
        with self.batcher.admit(1):
            try:
                pixels = await self._decoders.read(file, name, self._preprocessing)
            except ProgeoError as error:
                raise refuse_content(error) from error
            with self.reading("read photos"):
                path = await self._run(self._find_path, database, id)
                (explanation,) = await self._run(verifier.explain, lambda: pixels, [path])
                return explanation

    @staticmethod
    def _find_path(database: PlaceDatabase, id: str) -> str:
        try:
            return database.path_of(id)
        except StorageError:
            raise
        except ProgeoError as error:
            raise HTTPException(404, str(error)) from error

    async def _run(self, function: Callable[..., Result], *arguments: Any, **settings: Any) -> Result:
        """Run a function in one of the threads."""
        work = partial(function, *arguments, **settings)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def __enter__(self) -> Service:
        """Return the service itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """End the threads."""
        self._closed.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.batcher.close()
