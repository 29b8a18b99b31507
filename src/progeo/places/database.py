"""The place database: photos with known positions and their descriptors, to find where other photos were taken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from progeo.devices import choose_device
from progeo.errors import ProgeoError
from progeo.locating.calibration import Calibration
from progeo.locating.estimate import Estimate, make_estimate, weigh_evidence
from progeo.locating.prior import NoPhotoFitsError, Prior
from progeo.locating.sequence import find_path
from progeo.models.network import PlaceNetwork
from progeo.models.published import load_model
from progeo.places import approximate, storage
from progeo.places.adding import AddReport, add_photos, hash_file, make_absolute, normalise
from progeo.places.describing import Describer, DescribingSettings, Descriptors
from progeo.places.rebuilding import rebuild_photos
from progeo.places.searching import find_matches, quote

if TYPE_CHECKING:
    from typing_extensions import Unpack

PATHS_PER_DELETION = 1000
MIN_CONFIDENCE = 0.5
"""Below it an estimate is more likely wrong than right."""
SEQUENCE_MATCHES = 50
"""Along a path the right match may come later, as its neighbours speak for it."""


class PlaceDatabase:
    """Photos with known positions, in a folder or an object store, described by one model.

    Use it as a context manager. Several processes may read and write one database at once; every change is atomic.

    Attributes:
        address: the folder or the address of the object store.
        fc_output_dim: dimension of the descriptors.
        fingerprint: of the model, see ``compute_fingerprint``.
    """

    def __init__(self, address: str, connection: Any, settings: Any, **describing: Unpack[DescribingSettings]) -> None:
        """Use ``open`` or ``create``."""
        self.address = address
        self._connection = connection
        self._settings = settings
        self._describing = describing
        choose_device(describing.get("device", "cpu"))  # an error now instead of with the first photo
        self._read_description()

    def _read_description(self) -> None:
        """Take over what the database says of itself."""
        with storage.translate_errors(self.address, "open"):
            self._version = self._settings.version
            description = storage.read_description(self._settings, "database")
            if description is None:
                raise ProgeoError(f"The place database {self.address} is damaged: it does not say what it holds.")
            if description["format_version"] > storage.FORMAT_VERSION:
                raise ProgeoError(f"The place database {self.address} is of a newer progeo. Please update progeo.")
            self._photos = self._connection.open_table(description["photos"])
        self.fc_output_dim: int = description["fc_output_dim"]
        self.fingerprint: str = description["fingerprint"]
        for name in ("_describer", "calibration"):
            self.__dict__.pop(name, None)

    @classmethod
    def create(
        cls, address: str | Path, model: str | Path | PlaceNetwork, **describing: Unpack[DescribingSettings]
    ) -> PlaceDatabase:
        """Make an empty database that keeps a copy of the model.

        Args:
            address: a folder, which is made where it does not exist, or an object store such as ``s3://bucket/city``.
            model: a trained model, as ``progeo.load_model`` takes it, or the network itself.
            describing: as for ``open``.

        Raises:
            ProgeoError: there is a database already, the model cannot be read, or the place cannot be written.
        """
        address = str(address)
        if cls.exists(address):
            raise ProgeoError(f"There is a place database in {address} already. Open it, or choose another place.")
        network = load_network(model)
        connection = storage.connect(address, "create")
        with storage.translate_errors(address, "create"):
            photos = storage.create_photos_table(connection, network.fc_output_dim)
            description = storage.describe_database(network, photos)
            # From this one commit on there is a database.
            content = storage.make_settings({"database": description, "model": storage.encode_model(network)})
            try:
                settings = connection.create_table(storage.SETTINGS, content)
            except ValueError:
                connection.drop_table(photos)
                raise
        return cls(address, connection, settings, **describing)

    @classmethod
    def open(cls, address: str | Path, **describing: Unpack[DescribingSettings]) -> PlaceDatabase:
        """Open a database that exists.

        Args:
            address: the folder or the object store.
            describing: how photos are described: ``device`` (cpu, cuda, mps or auto; cpu if not given),
                ``batch_size`` (16), ``num_workers`` (reading threads; None for one per core), ``show_progress`` (no).

        Raises:
            ProgeoError: there is none, or it cannot be read.
        """
        address = str(address)
        if not cls.exists(address):
            raise ProgeoError(
                f"There is no place database in {address}. Make one with: progeo index PHOTOS `model` MODEL "
                f"`database` {address}"
            )
        connection = storage.connect(address)
        with storage.translate_errors(address, "open"):
            settings = connection.open_table(storage.SETTINGS)
        return cls(address, connection, settings, **describing)

    def renew(self) -> PlaceDatabase:
        """Return the database as it is now: this one, or one opened anew where another has rebuilt or calibrated it.

        That is noticed within two seconds and costs next to nothing; new and removed photos are seen without it.

        Raises:
            ProgeoError: it cannot be read.
        """
        with storage.translate_errors(self.address, "read"):
            if self._settings.version == self._version:
                return self
        return PlaceDatabase(self.address, self._connection, self._settings, **self._describing)

    @staticmethod
    def exists(address: str | Path) -> bool:
        """Whether there is a place database; nothing is made or changed where there is none."""
        address = str(address)
        if not storage.is_remote(address) and not Path(address).is_dir():
            return False
        connection = storage.connect(address)
        with storage.translate_errors(address, "open"):
            if storage.SETTINGS not in connection.list_tables().tables:
                return False
            try:
                connection.open_table(storage.SETTINGS)
            except ValueError as error:
                # Another run is making it: its folder is there before its first commit.
                if "was not found" not in str(error):
                    raise
                return False
            return True

    def __len__(self) -> int:
        """Return the number of photos."""
        with storage.translate_errors(self.address, "read"):
            return int(self._photos.count_rows())

    def __enter__(self) -> PlaceDatabase:
        """Return the database itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let go of the model; nothing else is held open."""
        self.__dict__.pop("_describer", None)

    @cached_property
    def _describer(self) -> Describer:
        with storage.translate_errors(self.address, "read the model of"):
            network = storage.decode_model(storage.read_setting(self._settings, "model"))
        return Describer.create(network, self._describing)

    @property
    def model(self) -> PlaceNetwork:
        """The network that describes the photos, in evaluation mode on the device."""
        return self._describer.network

    @cached_property
    def calibration(self) -> Calibration | None:
        """What was learned of the confidence of this database's estimates, if anything."""
        with storage.translate_errors(self.address, "read"):
            content = storage.read_description(self._settings, "calibration")
        return Calibration(**content) if content else None

    def store_calibration(self, calibration: Calibration) -> None:
        """Keep a calibration with the database; it is used from now on."""
        with storage.translate_errors(self.address, "write to"):
            storage.write_settings(self._settings, {"calibration": asdict(calibration)})
        self.calibration = calibration

    def add(self, table: pl.DataFrame) -> AddReport:
        """Describe and store the photos of an image table that are new or have changed.

        Args:
            table: ``path`` and a position: ``latitude`` and ``longitude`` in degrees, or ``utm_east``, ``utm_north``,
                ``utm_zone`` and ``utm_letter``. Used where they are there: ``heading`` (degrees clockwise from north)
                and ``timestamp`` (text that starts with a date, such as 201311 or 2024-05-31 12:30:00).

        Raises:
            ProgeoError: the database cannot be written; what was committed before is kept.
        """
        return add_photos(self._photos, table, self._describer, self.address)

    def remove(self, paths: Iterable[str | Path]) -> int:
        """Remove the photos with these source paths; return how many there were."""
        quoted = [quote(make_absolute(path)) for path in paths]
        before = len(self)
        with storage.translate_errors(self.address, "write to"):
            for start in range(0, len(quoted), PATHS_PER_DELETION):
                self._photos.delete(f"path IN ({', '.join(quoted[start : start + PATHS_PER_DELETION])})")
        return before - len(self)

    def prune(self) -> int:
        """Remove the photos whose file is gone; return how many there were."""
        return self.remove([path for path in self._read_columns(["path"])["path"] if not Path(path).exists()])

    def rebuild(self, model: str | Path | PlaceNetwork | None, table: pl.DataFrame | None = None) -> AddReport:
        """Describe all photos anew, those of the database and those of an image table.

        Until that is done the database stays as it was; where it is interrupted, the next call goes on. Afterwards
        the calibration is gone, and who else has the database open must ``renew`` it.

        Args:
            model: the new model; None takes the present one.
            table: photos to add, as for ``add``.

        Raises:
            ProgeoError: not a single photo could be described, or the database cannot be written; it stays as it was.
        """
        describer = self._describer if model is None else self._describer.take(load_network(model))
        wanted = normalise(self._read_columns(["path", "latitude", "longitude", "heading", "timestamp"]))
        if table is not None:
            wanted = pl.concat([wanted, normalise(table)], how="diagonal_relaxed")
        report = rebuild_photos(self._connection, self._settings, wanted, describer, self.address)
        self._read_description()
        return report

    def refresh_index(self) -> str | None:
        """Tidy up after additions: join small files, and keep the approximate index of a large database up to date.

        Returns:
            What is to be said of the index, or None where the database is so small that it needs none.
        """
        with storage.translate_errors(self.address, "index"):
            return approximate.refresh(self._photos, self._settings, self.fc_output_dim, self.search)

    @property
    def lacks_index(self) -> bool:
        """Whether the approximate index that a database of this size needs has not been built yet."""
        with storage.translate_errors(self.address, "read"):
            return approximate.lacks_index(self._photos, self._settings)

    def search(
        self, descriptors: Descriptors, k: int = 20, prior: Prior | None = None, exact: bool = False
    ) -> list[pl.DataFrame]:
        """Find the photos whose descriptors are nearest to those of each query (L2).

        Args:
            descriptors: float32 (Q, D), of this database's model (``describe_images``): those of another model with the
                same dimension cannot be told from them, and find anything.
            k: photos per query; a small database gives as many as it has.
            prior: only photos that agree with it.
            exact: compare with every photo, even where there is an approximate index.

        Returns:
            For each query a table, nearest first: ``id``, ``path``, ``latitude``, ``longitude``, ``heading``,
            ``timestamp``, ``descriptor_distance``.

        Raises:
            ProgeoError: descriptors of another dimension, an empty database, or no photo that agrees with the prior.
        """
        if descriptors.ndim != 2 or descriptors.shape[1] != self.fc_output_dim:
            raise ProgeoError(
                f"The descriptors have shape {descriptors.shape}, but the photos of {self.address} have "
                f"{self.fc_output_dim} dimensions. Describe the queries with the database's own model."
            )
        if not np.isfinite(descriptors).all():
            raise ProgeoError("A descriptor holds NaN or infinity. A damaged model gives such values; try another one.")
        condition = prior.to_filter() if prior else None
        with storage.translate_errors(self.address, "search"):
            matches = [find_matches(self._photos, descriptor, k, condition, exact) for descriptor in descriptors]
        if matches and matches[0].is_empty():
            if len(self) == 0:
                raise ProgeoError(
                    f"The place database {self.address} is empty. Add photos with: progeo index PHOTOS `database` "
                    f"{self.address}"
                )
            known = prior.describe() if prior else ""
            raise NoPhotoFitsError(f"No photo of the database is {known}. Please widen the search.")
        return matches

    def describe_images(self, images: Sequence[torch.Tensor]) -> Descriptors:
        """Describe images with the database's model.

        Args:
            images: uint8 (3, H, W) each, of any size; the shorter side is brought to the model's.

        Returns:
            float32 (Q, D), in the order of the images.
        """
        return self._describer.describe_all(images)

    def describe_photos(self, paths: Sequence[str]) -> tuple[dict[str, Descriptors], dict[str, str]]:
        """Describe photo files with the database's model.

        Returns:
            The descriptor, float32 (D,), of each path that can be read, and for each of the others why not.
        """
        return self._describer.describe_photos(paths)

    def locate(
        self,
        photos: Sequence[torch.Tensor | str | Path],
        *,
        prior: Prior | None = None,
        k: int = 20,
        min_confidence: float = MIN_CONFIDENCE,
    ) -> list[Estimate]:
        """Estimate where photos were taken.

        Args:
            photos: image files, or images as uint8 (3, H, W).
            prior: what is known beforehand.
            k: how many matches vote.
            min_confidence: probability below which a place counts as unknown.

        Raises:
            ProgeoError: a photo cannot be read, or as ``search``.
        """
        images = [photo if isinstance(photo, torch.Tensor) else self._describer.read(photo) for photo in photos]
        return self.locate_descriptors(self.describe_images(images), prior=prior, k=k, min_confidence=min_confidence)

    def locate_descriptors(
        self,
        descriptors: Descriptors,
        *,
        prior: Prior | None = None,
        k: int = 20,
        min_confidence: float = MIN_CONFIDENCE,
        exact: bool = False,
    ) -> list[Estimate]:
        """Estimate where photos were taken from their descriptors, float32 (Q, D); else as ``locate``."""
        return [
            make_estimate(matches, weigh_evidence(matches), self.calibration, min_confidence)
            for matches in self.search(descriptors, k, prior, exact)
        ]

    def locate_sequence(
        self,
        descriptors: Descriptors,
        intervals: NDArray[np.float64],
        max_speed: float,
        *,
        prior: Prior | None = None,
        k: int = 20,
        min_confidence: float = MIN_CONFIDENCE,
        exact: bool = False,
    ) -> list[Estimate]:
        """Estimate where photos were taken that follow each other along a path.

        Args:
            descriptors: float32 (Q, D), in the order of the path.
            intervals: (Q,) seconds since the photo before, see ``measure_intervals``.
            max_speed: metres per second that the estimates do not exceed, up to a slack of 50 metres.
            prior: what is known beforehand.
            k: how many matches vote.
            min_confidence: probability below which a place counts as unknown.
            exact: as for ``search``.
        """
        matches = self.search(descriptors, max(k, SEQUENCE_MATCHES), prior, exact)
        path = find_path(matches, intervals, max_speed)
        return [
            make_estimate(table.head(k), weigh_evidence(table.head(k), point), self.calibration, min_confidence)
            for table, point in zip(matches, path, strict=True)
        ]

    def positions(self) -> pl.DataFrame:
        """Return all photos' ``id``, ``latitude``, ``longitude`` and ``heading`` (degrees, null where not known)."""
        return self._read_columns(["id", "latitude", "longitude", "heading"])

    def find_stored(self, paths: Iterable[str | Path]) -> set[str]:
        """Return which of these photo files the database holds, known by their content, under whatever name.

        Raises:
            OSError: a file cannot be read.
        """
        stored = set(self._read_columns(["content_hash"])["content_hash"])
        return {str(path) for path in paths if hash_file(path) in stored}

    def _read_columns(self, columns: list[str]) -> pl.DataFrame:
        with storage.translate_errors(self.address, "read"):
            table = pl.from_arrow(self._photos.search().select(columns).to_arrow())
        assert isinstance(table, pl.DataFrame)
        return table

    def thumbnail(self, id: str) -> bytes:
        """Return the small JPEG of a photo.

        Raises:
            ProgeoError: there is no photo with this id.
        """
        with storage.translate_errors(self.address, "read"):
            found = self._photos.search().where(f"id = {quote(id)}").select(["thumbnail"]).limit(1).to_arrow()
        if len(found) == 0:
            raise ProgeoError(f"There is no photo {id[:80]!r} in the place database.")
        content: bytes = found["thumbnail"][0].as_py()
        return content


def load_network(model: str | Path | PlaceNetwork) -> PlaceNetwork:
    """Return a network in evaluation mode, loaded where only its name or file is given."""
    return (model if isinstance(model, PlaceNetwork) else load_model(model)).eval()
