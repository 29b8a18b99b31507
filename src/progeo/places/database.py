"""The place database: photos with known positions and their descriptors, to find where other photos were taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from progeo.data.frames import EARTH, LOCAL, Frame
from progeo.errors import ProgeoError
from progeo.locating.calibration import Calibration
from progeo.locating.default import calibrate_by_itself
from progeo.locating.estimate import Estimate, choose_threshold, make_estimate
from progeo.locating.evidence import weigh_evidence
from progeo.locating.prior import Prior
from progeo.locating.sequence import find_path
from progeo.models.encoder import Descriptors, Encoder
from progeo.models.engines.choose import find_exported, may_take_graph
from progeo.models.engines.graphs import ExportedModel
from progeo.models.fingerprint import compute_fingerprint
from progeo.models.spec import ModelSpec
from progeo.pixels.recipe import Preprocessing, list_sources
from progeo.places import approximate, storage
from progeo.places.encode import AddReport
from progeo.places.keeping import (
    check_independent,
    decode_model,
    describe_model,
    encode_model,
    load_model,
    refuse_frame,
    refuse_model,
)
from progeo.places.leaving_out import locate_own_photos
from progeo.places.local import add_photos
from progeo.places.photos import Photos, read_photo_set
from progeo.places.plan import make_absolute, scan
from progeo.places.pruning import find_gone
from progeo.places.rebuilding import rebuild_photos
from progeo.places.searching import rerank_matches, search_photos
from progeo.places.tables import Tables
from progeo.places.verifying import create_reranker, keep_local_features
from progeo.places.versions import tag_version, untag
from progeo.search.methods import AUTO, NONE
from progeo.search.rerank import Query, Reranker, no_rerank
from progeo.search.verifier import CANDIDATES

if TYPE_CHECKING:
    from progeo.models.network import PlaceNetwork
    from progeo.pixels.recipe import Source
    from progeo.places.shards import CommitReport

    Model = PlaceNetwork | ExportedModel

Result = TypeVar("Result")

MATCHES = 20
SEQUENCE_MATCHES = 50
"""Along a path the right match may come later, as its neighbours speak for it."""


class PlaceDatabase:
    """Photos with known positions, in a folder or an object store, encoded by one model.

    Use it as a context manager. Several processes may read and write one database at once; every change is atomic, and
    none is lost where another process makes the same database or rebuilds it meanwhile.
    """

    def __init__(
        self,
        tables: Tables,
        *,
        model: str | Path | Model | None = None,
        trust_remote_code: bool = False,
        device: str = "cpu",
        engine: str | None = "auto",
        **running: Any,
    ) -> None:
        """Use ``open`` or ``create``."""
        self._tables = tables
        self._model = model
        self._rerankers: dict[str, Reranker] = {}
        self._loading: dict[str, Any] = {"trust_remote_code": trust_remote_code, "device": device, "engine": engine}
        self._running: dict[str, Any] = {"device": device, "engine": engine, **running}

    @classmethod
    def create(
        cls,
        address: str | Path,
        model: str | Path | Model,
        *,
        exist_ok: bool = False,
        local_frame: bool = False,
        **settings: Any,
    ) -> PlaceDatabase:
        """Make an empty database that keeps a copy of the model.

        Args:
            address: a folder, which is made where it does not exist, or an object store such as ``s3://bucket/city``.
            model: a model as ``progeo.load_model`` takes it, or what that gives. Of a network that was put together
                from modules of your own only the weights are kept: give it again to ``open``.
            exist_ok: open the database where there is one already, also where another process makes it right now.
            local_frame: its positions are ``x`` and ``y`` in metres of a frame of their own, as of a floor plan,
                instead of latitude and longitude. A database never mixes frames.
            **settings: as for ``open``.

        Raises:
            ProgeoError: there is a database already, or one of another frame; the model cannot be read or encodes no
                photo by itself, or the place cannot be written.
        """
        address = str(address)
        exists = f"There is a place database in {address} already. Open it, or choose another place."
        if cls.exists(address):
            if exist_ok:
                return cls.open(address, model=model, **settings)._of_frame(local_frame)
            raise ProgeoError(exists)
        device = settings.get("device", "cpu")
        loaded = load_model(
            model,
            trust_remote_code=settings.get("trust_remote_code", False),
            device=device,
            engine=settings.get("engine", "auto"),
        )
        encoder = Encoder.create(loaded, device=device)
        check_independent(encoder)
        tables = Tables.create(address, encoder, encode_model(loaded), LOCAL if local_frame else EARTH)
        if tables is not None:
            return cls(tables, model=loaded, **settings)
        if exist_ok:  # made by another process meanwhile
            return cls.open(address, model=loaded, **settings)._of_frame(local_frame)
        raise ProgeoError(exists)

    @classmethod
    def open(
        cls,
        address: str | Path,
        *,
        version: int | str | None = None,
        index_cache_gb: float = storage.INDEX_CACHE_GB,
        model: str | Path | Model | None = None,
        trust_remote_code: bool = False,
        device: str = "cpu",
        engine: str | None = "auto",
        precision: str = "float32",
        batch_size: int = 16,
        num_workers: int | None = None,
        show_progress: bool = False,
    ) -> PlaceDatabase:
        """Open a database that exists.

        Args:
            address: the folder or the object store.
            version: to stay at and only to read, whatever others change: a tag, which keeps it from being deleted (see
                ``tag``), or the number of a version of the photos; None is the newest at any time.
            index_cache_gb: gigabytes of the approximate index of a large database that memory may hold.
            model: to use in place of the copy that the database keeps; it must be the same one.
            trust_remote_code: let a model of torch.hub run its code.
            device: where the model computes: cpu, cuda, mps or auto.
            engine: what runs the model (see ``Encoder.create``): auto, torch, onnx or openvino.
            precision: in which it computes on a GPU: float32, half, bf16 or fp16.
            batch_size: photos per forward pass.
            num_workers: reading threads; 0 reads in the calling thread, None takes one per core, at most eight.
            show_progress: whether there are progress bars.

        Raises:
            ProgeoError: there is none, or it cannot be read.
        """
        return cls(
            Tables.open(str(address), version, index_cache_gb),
            model=model,
            trust_remote_code=trust_remote_code,
            device=device,
            engine=engine,
            precision=precision,
            batch_size=batch_size,
            num_workers=num_workers,
            show_progress=show_progress,
        )

    def renew(self, *, anew: bool = False) -> PlaceDatabase:
        """Return the database as it is now: this one, or one opened anew where another has rebuilt or calibrated it.

        That is noticed within two seconds and costs next to nothing; new and removed photos are seen without it. One
        that was opened at a version stays.

        Args:
            anew: open it in any case: after an error, as somebody may have deleted it and made another in its place,
                or at the version that its tag stands for now.

        Raises:
            ProgeoError: it cannot be read.
        """
        tables = self._tables.renew(anew=anew)
        if tables is self._tables:
            return self
        renewed = PlaceDatabase(tables, trust_remote_code=self._loading["trust_remote_code"], **self._running)
        if renewed.fingerprint == self.fingerprint:
            renewed._model = self._model
            if "encoder" in self.__dict__:
                renewed.encoder = self.encoder
        return renewed

    @staticmethod
    def exists(address: str | Path) -> bool:
        """Whether there is a place database; nothing is made or changed where there is none."""
        return Tables.exist(str(address))

    @property
    def address(self) -> str:
        """The folder or the address of the object store."""
        return self._tables.address

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the model, see ``compute_fingerprint``."""
        return self._tables.fingerprint

    @property
    def pinned(self) -> bool:
        """Whether it was opened at a version, and is only read."""
        return self._tables.pinned is not None

    @property
    def version(self) -> int:
        """The number of the version of the photos that is read; a table of photos that was rebuilt starts again."""
        return self._tables.read_version()

    def tag(self, name: str) -> int:
        """Keep the present version under a name, for ``open``, in place of the one that the name stood for.

        That one is kept as ``NAME.previous``. As long as a version is kept, so are all later ones.

        Returns:
            The number of the version.

        Raises:
            ProgeoError: there cannot be such a name, or the database cannot be written.
        """
        tag_version(self._tables, name)
        return self.version

    def untag(self, name: str) -> None:
        """Let versions that were kept under a name be deleted when the database is tidied up.

        Raises:
            ProgeoError: there is no such name, or the database cannot be written.
        """
        untag(self._tables, name)

    def warm_up(self) -> None:
        """Read the approximate index into memory, so that the first search takes no longer than others.

        Raises:
            ProgeoError: it cannot be read.
        """
        with storage.translate_errors(self.address, "read"):
            approximate.warm_up(self._tables.photos)

    @property
    def descriptor_dim(self) -> int:
        """Dimension of the descriptors."""
        return self._tables.descriptor_dim

    @property
    def preprocessing(self) -> Preprocessing:
        """How the model wants its photos."""
        return self._tables.preprocessing

    @property
    def frame(self) -> Frame:
        """The names of the two columns of a position: latitude and longitude, or x and y."""
        return self._tables.frame

    @property
    def local_frame(self) -> bool:
        """Whether positions are x and y in metres of a frame of their own, instead of latitude and longitude."""
        return self.frame == LOCAL

    def _of_frame(self, local: bool) -> PlaceDatabase:
        """Return the database itself.

        Raises:
            ProgeoError: a local frame is asked for, and its positions are on the earth.
        """
        if local and not self.local_frame:
            raise refuse_frame(self.address)
        return self

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._tables.spec or self.encoder.spec

    def __len__(self) -> int:
        """Return the number of photos."""
        return self._tables.count_photos()

    def __enter__(self) -> PlaceDatabase:
        """Return the database itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let go of the model; nothing else is held open."""
        self.__dict__.pop("encoder", None)

    @cached_property
    def encoder(self) -> Encoder:
        """What encodes photos as those of the database are; its model is loaded when it is first used.

        Raises:
            ProgeoError: the model is another one than that of the database, cannot be made again without the modules
                that it was put together from, or runs code that is not trusted.
        """
        if self._model is None:
            kept = f"the model that the place database {self.address} keeps"
            model = self._find_exported() or decode_model(self._tables.read_model(), kept, **self._loading)
            encoder = Encoder.create(model, **self._running)
            if encoder.fingerprint != self.fingerprint:
                raise ProgeoError(
                    f"{kept[0].upper()}{kept[1:]} is not the one that made its descriptors: it was replaced or is "
                    "damaged. Give that one as `model`, or make the database anew."
                )
            return encoder
        encoder = Encoder.create(load_model(self._model, **self._loading), **self._running)
        if encoder.fingerprint != self.fingerprint:
            raise refuse_model(self.address, describe_model(self._model))
        return encoder

    def _find_exported(self) -> ExportedModel | None:
        """Return the graph of the model where one is in the cache: reading the model itself takes seconds."""
        spec, engine = self._tables.spec, self._loading["engine"]
        if spec is None or not may_take_graph(engine, self._loading["device"]):
            return None
        return find_exported(self.fingerprint, spec, engine=engine, kept=self._tables.read_model)

    def is_of(self, model: Model) -> bool:
        """Whether the descriptors are those of this model."""
        found = model.fingerprint if isinstance(model, ExportedModel) else compute_fingerprint(model)
        return found == self.fingerprint

    @property
    def calibration(self) -> Calibration | None:
        """What was learned of the confidence of this database's estimates, if anything."""
        return self._tables.calibration

    def calibrate(self) -> Calibration:
        """Learn from the database's own photos how sure its estimates are, and keep that with the database.

        Places are left out in turn, a bounded sample of them. Where there are too few, a default that other towns have
        taught stands in. Labelled queries teach more: see ``progeo.places.calibrating``.

        Returns:
            The calibration, with what it could and could not learn in its ``notes``.

        Raises:
            ProgeoError: the database cannot be read or written.
        """
        examples = locate_own_photos(self._tables.photos, self.address, MATCHES)
        head = self.spec.head_arguments.get("head", self.spec.head)  # that before principal components
        self.store_calibration(calibrate_by_itself(examples, len(self), head=head))
        assert self.calibration is not None
        return self.calibration

    def store_calibration(self, calibration: Calibration) -> None:
        """Keep a calibration with the database; it is used from now on."""
        self._tables.store_calibration(calibration)

    def add(self, photos: Photos) -> AddReport:
        """Describe and store the photos that are new or have changed.

        Args:
            photos: a folder or a manifest, image files with a position in their names or their EXIF data, or an image
                table: ``path`` and a position (``latitude`` and ``longitude`` in degrees, or ``utm_east``,
                ``utm_north``, ``utm_zone`` and ``utm_letter``; in a local frame ``x`` and ``y`` in metres);
                used where they are there: ``heading`` (degrees clockwise from north) and ``timestamp`` (text that
                starts with a date, such as 201311 or 2024-05-31 12:30:00).

        Raises:
            ProgeoError: there are no photos, or the database cannot be written; what was committed before is kept.
        """
        found = read_photo_set(photos, local_frame=self.local_frame)
        kept: list[int] = []
        report = AddReport()

        def add() -> None:
            report.added, report.kept, report.failed = 0, 0, dict(found.failed)
            add_photos(self._tables.target, found.table, self.encoder, report)
            kept.append(report.kept)

        self._write(add)
        # What was added to a table that another process has replaced meanwhile came to be kept in the new one.
        report.added, report.kept = report.added + report.kept - kept[0], kept[0]
        return report

    def index_shard(self, photos: Photos, shard: int, shards: int) -> AddReport:
        """Describe the photos of one of several shards, each on a machine of its own; see ``progeo.places.shards``.

        Args:
            photos: as for ``add``, the same for all shards.
            shard: which one, from 0.
            shards: how many there are.

        Raises:
            ProgeoError: there are no photos or no such shard, or the database cannot be written.
        """
        from progeo.places.shards import index_shard  # its library is optional

        found = read_photo_set(photos)
        report = AddReport(failed=dict(found.failed))
        index_shard(self._tables, found.table, self.encoder, shard, shards, report)
        return report

    def index_on_cluster(
        self, photos: Photos, shards: int, ray_address: str | None = None
    ) -> tuple[AddReport, CommitReport]:
        """Have the workers of a Ray cluster describe photos in shards, and take these into the database.

        The workers must see the photos, and the database, under the same paths. What they have written is kept where
        one of them, or this process, dies; the same call goes on from there.

        Args:
            photos: as for ``add``.
            shards: how many; several for each worker, so that none has much to do again.
            ray_address: of the cluster; None uses this machine alone.

        Raises:
            ProgeoError: there is no such cluster, a worker fails or dies again and again, or as ``index_shard``.
        """
        from progeo.places.cluster import index_on_cluster  # its library is optional

        found = read_photo_set(photos, local_frame=self.local_frame)
        settings = self._loading | self._running | {"show_progress": False}
        report, committed = index_on_cluster(self, found.table, shards, settings, ray_address)
        report.failed |= found.failed
        return report, committed

    def commit_shards(self) -> CommitReport:
        """Take the finished shards into the database; see ``progeo.places.shards``."""
        from progeo.places.shards import commit_shards

        return commit_shards(self._tables)

    def remove(self, paths: Iterable[str | Path]) -> int:
        """Remove the photos with these source paths; return how many there were."""
        absolute = [make_absolute(path) for path in paths]
        return max(self._write(lambda: self._tables.target.delete(absolute)))

    def prune(self, folders: Iterable[str | Path] = ()) -> int:
        """Remove the photos whose file is gone; return how many there were.

        Args:
            folders: that are known to be complete: below them whole folders may be gone.

        Raises:
            ProgeoError: whole folders are gone elsewhere, as of an unmounted disk, or all photos; none is removed.
        """
        return self.remove(find_gone(self.list_paths(), [make_absolute(folder) for folder in folders]))

    def list_paths(self) -> Iterator[str]:
        """Yield the source path of each photo."""
        return (path for batch in scan(self._tables.photos, ["path"], self.address) for path in batch["path"])

    def rebuild(self, model: str | Path | Model | None = None, photos: Photos | None = None) -> AddReport:
        """Describe all photos anew, those of the database and further ones.

        Until that is done the database stays as it was; where it is interrupted, the next call goes on. What other
        processes add or remove meanwhile is carried over. Afterwards the calibration is gone, and who else has the
        database open must ``renew`` it.

        Args:
            model: the new model; None takes the present one.
            photos: to add, as for ``add``.

        Raises:
            ProgeoError: no photo could be encoded, or the database cannot be written; it stays as it was.
        """
        if model is None:
            encoder = self.encoder
        else:
            encoder = Encoder.create(load_model(model, **self._loading), **self._running)
            check_independent(encoder)
        found = None if photos is None else read_photo_set(photos, local_frame=self.local_frame)
        report = rebuild_photos(
            self._tables, encode_model(encoder.model), encoder, None if found is None else found.table
        )
        report.failed |= found.failed if found else {}
        self._follow()
        if self.fingerprint == encoder.fingerprint:
            self._model, self.encoder = encoder.model, encoder
        return report

    def _write(self, change: Callable[[], Result]) -> list[Result]:
        """Change the photos, again where another table has become the database's meanwhile; return all results.

        Another process can have rebuilt the database, or have made it in the same moment. It carries over what was in
        the old table when the new one took its place, and this does the rest.
        """
        results = []
        while True:
            photos = self._tables.photos.name
            try:
                results.append(change())
            except ProgeoError:  # of a table that is not there any more, for example
                self._follow()
                if self._tables.photos.name == photos:
                    raise
                continue
            self._follow()
            if self._tables.photos.name == photos:
                return results

    def _follow(self) -> None:
        """Go over to the table of photos that is the database's now, and to its model."""
        fingerprint = self.fingerprint
        self._rerankers.clear()
        self._tables.follow()
        if self.fingerprint != fingerprint:
            self._model = None
            self.__dict__.pop("encoder", None)

    def refresh_index(self) -> str | None:
        """Tidy up after additions: join small files, and keep the approximate index of a large database up to date.

        Returns:
            What is to be said of the index, or None where the database is so small that it needs none.
        """
        with storage.translate_errors(self.address, "index"):
            tables = self._tables
            return approximate.refresh(
                tables.photos, tables.pictures, tables.settings, tables.descriptor_dim, self.search
            )

    @property
    def lacks_index(self) -> bool:
        """Whether the approximate index that a database of this size needs has not been built yet."""
        with storage.translate_errors(self.address, "read"):
            return approximate.lacks_index(self._tables.photos, self._tables.settings)

    def check_ready(self, min_confidence: float | None = None) -> None:
        """Check what needs no model: that there are photos, and that the confidence asked for can be told.

        Raises:
            ProgeoError: the database is empty, or not calibrated; see ``locate``.
        """
        choose_threshold(self.calibration, min_confidence)
        self._tables.check_not_empty()

    def search(
        self,
        descriptors: Descriptors,
        k: int = MATCHES,
        prior: Prior | None = None,
        exact: bool = False,
        *,
        queries: Sequence[Query] | None = None,
        rerank: Reranker = no_rerank,
    ) -> list[pl.DataFrame]:
        """Find the photos whose descriptors are nearest to those of each query (L2).

        Args:
            descriptors: float32 (Q, D), of this database's ``encoder``: those of another model with the same dimension
                cannot be told from them, and find anything.
            k: photos per query; a small database gives as many as it has.
            prior: only photos that agree with it.
            exact: compare with every photo, even where there is an approximate index.
            queries: Q functions that give the pixels of a query, for a reranker that looks at them.
            rerank: brings the photos found into another order; one with ``candidates`` looks through so many.

        Returns:
            For each query a table, most similar first: ``id``, ``path``, ``latitude`` and ``longitude`` (``x``, ``y``
            in a local frame), ``heading``, ``timestamp``, ``descriptor_distance``.

        Raises:
            ProgeoError: descriptors of another dimension, an empty database, or no photo that agrees with the prior.
        """
        if rerank is no_rerank:
            return search_photos(self._tables, descriptors, k, prior, exact)
        matches = search_photos(self._tables, descriptors, max(k, getattr(rerank, "candidates", 0)), prior, exact)
        return [table.head(k) for table in rerank_matches(matches, rerank, queries)]

    def locate(
        self,
        photos: Source | Sequence[Source],
        *,
        prior: Prior | None = None,
        k: int = MATCHES,
        min_confidence: float | None = None,
        even_unknown: bool = False,
        exact: bool = False,
        rerank: Reranker | str = AUTO,
    ) -> list[Estimate]:
        """Estimate where photos were taken.

        Args:
            photos: one or several: paths, bytes, images of Pillow, arrays (H, W, 3), tensors (3, H, W).
            prior: what is known beforehand.
            k: how many matches vote.
            min_confidence: probability below which a place counts as unknown; None is 0.5 where the database is
                calibrated. Where it is not, nobody knows, and no place counts as known.
            even_unknown: give positions also of photos whose place is not known.
            exact: compare with every photo, even where there is an approximate index.
            rerank: brings the photos found into another order: what ``create_reranker`` gives, its name, or a reranker
                of one's own.

        Raises:
            ProgeoError: a photo cannot be read, a confidence is asked for that the database cannot tell, or as
                ``search``.
        """
        self.check_ready(min_confidence)
        listed = list_sources(photos)
        return self.locate_descriptors(
            self.encoder.encode(listed),
            queries=[partial(self.encoder.read, photo) for photo in listed],
            prior=prior,
            k=k,
            min_confidence=min_confidence,
            even_unknown=even_unknown,
            exact=exact,
            rerank=rerank,
        )

    def locate_descriptors(
        self,
        descriptors: Descriptors,
        *,
        queries: Sequence[Query] | None = None,
        intervals: NDArray[np.float64] | None = None,
        max_speed: float = 15.0,
        prior: Prior | None = None,
        k: int = MATCHES,
        min_confidence: float | None = None,
        even_unknown: bool = False,
        exact: bool = False,
        rerank: Reranker | str = AUTO,
    ) -> list[Estimate]:
        """Estimate where photos were taken from their descriptors, float32 (Q, D); else as ``locate``.

        Args:
            descriptors: of this database's ``encoder``.
            queries: functions that give the photos' pixels, for a reranker; without them ``auto`` is ``none``.
            intervals: (Q,) seconds since the photo before, see ``measure_intervals``, of photos that follow each other
                along a path; None takes each photo for itself.
            max_speed: metres per second that estimates along a path do not exceed, up to a slack of 50 metres.
        """
        threshold = choose_threshold(self.calibration, min_confidence)
        if isinstance(rerank, str):
            rerank = self._choose_reranker(NONE if rerank == AUTO and queries is None else rerank)
        candidates = k if intervals is None else max(k, SEQUENCE_MATCHES)
        matches = self.search(descriptors, candidates, prior, exact, queries=queries, rerank=rerank)
        path = [None] * len(matches) if intervals is None else find_path(matches, intervals, max_speed)
        return [
            make_estimate(
                table.head(k), weigh_evidence(table.head(k), point), self.calibration, threshold, even_unknown
            )
            for table, point in zip(matches, path, strict=True)
        ]

    def create_reranker(
        self, name: str, *, candidates: int = CANDIDATES, cache_folder: str | Path | None = None
    ) -> Reranker:
        """Return a reranker for this database, to be used for many photos.

        What it must know of photos that look alike and lie far apart, it learns the first time, and the database keeps.

        Args:
            name: ``dense``, ``sift``, ``lightglue``, ``both`` (dense and sift), ``none``, or ``auto``: dense, or none
                where the model has no local features or OpenCV is missing, which is said.
            candidates: how many of the photos found are compared; those behind keep their places.
            cache_folder: where keypoints of the database's photos are kept; None keeps some in memory.

        Raises:
            ProgeoError: there is no such reranker, a library is missing, or the model has no local features.
        """
        if name == NONE:  # needs no model
            return no_rerank
        return create_reranker(self._tables, name, self.encoder, candidates, cache_folder)

    def _choose_reranker(self, name: str) -> Reranker:
        """Return a reranker by its name; until the photos change the same one, with the keypoints it has in memory."""
        if name not in self._rerankers:
            self._rerankers[name] = self.create_reranker(name)
        return self._rerankers[name]

    def keep_local_features(self, most: int) -> tuple[int, int]:
        """Keep at most so many local features of every photo, as re-ranking by ``dense`` compares them.

        Those of a model without local features are SIFT's.

        Returns:
            Of how many photos they were added, and the bytes that takes.
        """
        return keep_local_features(self._tables, self.encoder, most)

    def positions(self) -> pl.DataFrame:
        """Return all photos' ``id``, position and ``heading`` (degrees, null where not known).

        The position is ``latitude`` and ``longitude``, or ``x`` and ``y`` in a local frame.
        """
        return self._tables.read_columns("id", *self.frame, "heading")

    def credits(self) -> pl.DataFrame:
        """Return whom to name for the photos, the most photos first.

        Returns:
            ``author``, ``licence``, ``licence_url`` and ``source`` (null where not known), how many ``photos``, and the
            ``page_url`` of one of them. Photos of one's own are in no row.
        """
        return self._tables.count_credits()

    def find_stored(self, paths: Iterable[str | Path]) -> set[str]:
        """Return which of these photo files the database holds, known by their content, under whatever name.

        Raises:
            OSError: a file cannot be read.
        """
        return self._tables.find_content(paths)

    def thumbnail(self, id: str) -> bytes:
        """Return the small JPEG of a photo.

        Raises:
            ProgeoError: there is no photo with this id.
        """
        return self._tables.read_thumbnail(id)

    def path_of(self, id: str) -> str:
        """Return the source path of a photo.

        Raises:
            ProgeoError: there is no photo with this id.
        """
        return self._tables.read_path(id)
