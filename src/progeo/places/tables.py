"""The tables of a place database as it is opened: what it says of itself, and its photos, whoever else changes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from progeo import remote
from progeo.console import logger
from progeo.data.credits import CREDIT_COLUMNS
from progeo.data.frames import EARTH, Frame, find_frame
from progeo.errors import ProgeoError
from progeo.files import check_folder
from progeo.locating.calibration import Calibration
from progeo.models.encoder import Encoder
from progeo.models.spec import ModelSpec, check_dimension
from progeo.pixels.recipe import Preprocessing
from progeo.places import objects, storage, thumbnails, versions
from progeo.places.commit import Target
from progeo.places.encode import hash_content
from progeo.places.plan import drop_damaged, scan
from progeo.plain import parse_json, read_dataclass, read_value


@dataclass(frozen=True)
class Description:
    """What a place database says of itself."""

    format_version: int
    fingerprint: str
    photos: str
    descriptor_dim: int
    preprocessing: Preprocessing
    spec: ModelSpec | None = None

    @classmethod
    def read(cls, settings: Any, address: str) -> Description:
        """Return the description of a database at an address.

        Raises:
            ProgeoError: there is none, or it is damaged or of a newer progeo.
        """
        where = f"the place database {address}"
        try:
            content = storage.read_description(settings, "database")
            if not isinstance(content, dict):
                raise ValueError("it does not say what it holds")
            if read_value(int, content.get("format_version"), "format_version") > storage.FORMAT_VERSION:
                raise ProgeoError(f"The place database {address} is of a newer progeo. Please update progeo.")
            if "spec" in content:
                spec = ModelSpec.from_dict(content["spec"], where)
                model = {"descriptor_dim": spec.descriptor_dim, "preprocessing": spec.preprocessing, "spec": spec}
            else:  # of progeo 0.1.0
                preprocessing = Preprocessing.from_dict(read_value(dict, content.get("preprocessing"), "preprocessing"))
                model = {"descriptor_dim": content.get("fc_output_dim"), "preprocessing": preprocessing}
            own = {name: content[name] for name in ("format_version", "fingerprint", "photos") if name in content}
            description = read_dataclass(cls, own | model)
            check_dimension(description.descriptor_dim)
        except ValueError as error:
            raise ProgeoError(
                f"The place database {address} is damaged: {error}. Bring it back from a copy, or make it anew."
            ) from error
        return description


class Tables:
    """The Lance tables of one place database.

    Attributes:
        address: the folder or the address of the object store.
        connection: to it.
        settings: the table of settings.
        photos: the table of photos.
        fingerprint: of the model, see ``compute_fingerprint``.
        spec: of the model; None in a database of progeo 0.1.0.
        descriptor_dim: dimension of the descriptors.
        preprocessing: how the model wants its photos.
        pinned: the version that is read, by its number or its tag; None follows every change.
    """

    spec: ModelSpec | None = None

    def __init__(
        self,
        address: str,
        connection: Any,
        settings: Any,
        pinned: int | str | None = None,
        index_cache_gb: float = storage.INDEX_CACHE_GB,
    ) -> None:
        """Use ``open`` or ``create``."""
        self.address = address
        self._index_cache_gb = index_cache_gb
        self.pinned = pinned
        self.connection = connection
        self.settings = settings
        self._read()

    def _read(self) -> None:
        """Take over the database's note: its format, model and table."""
        with storage.translate_errors(self.address, "open"):
            self._version = storage.find_latest_version(self.settings, self.address)
            if self.pinned is not None:
                # A number is one of the table of photos; the settings stay as they are now.
                tag = self.pinned if isinstance(self.pinned, str) else self._version
                versions.check_out(self.settings, tag, self.address)
            description = Description.read(self.settings, self.address)
            self.photos = self.connection.open_table(description.photos)
            if self.pinned is not None:
                versions.check_out(self.photos, self.pinned, self.address)
        self.fingerprint = description.fingerprint
        self.descriptor_dim, self.preprocessing = description.descriptor_dim, description.preprocessing
        self.spec = description.spec
        self.__dict__.pop("calibration", None)

    @classmethod
    def open(
        cls, address: str, pinned: int | str | None = None, index_cache_gb: float = storage.INDEX_CACHE_GB
    ) -> Tables:
        """Open the tables of a database that exists, as they are or at a version.

        Raises:
            ProgeoError: there is none, or it cannot be read.
        """
        if not cls.exist(address):
            raise ProgeoError(
                f"There is no place database in {address}. Make one with progeo index, which takes photos, a model and "
                "this address as the database."
            )
        connection = storage.connect(address, index_cache_gb=index_cache_gb)
        with storage.translate_errors(address, "open"):
            settings = connection.open_table(storage.SETTINGS)
        return cls(address, connection, settings, pinned, index_cache_gb)

    @classmethod
    def create(cls, address: str, encoder: Encoder, model: bytes, frame: Frame = EARTH) -> Tables | None:
        """Make the tables of an empty database, or return None where another process has made one meanwhile.

        Args:
            address: a folder, which is made where it does not exist, or an object store.
            encoder: of the model.
            model: its content as a model file.
            frame: of the photos' positions.

        Raises:
            ProgeoError: the place cannot be written.
        """
        objects.check_commits(address)
        connection = storage.connect(address, "create")
        with storage.lock_creation(address), storage.translate_errors(address, "create"):
            if cls.exist(address):
                return None
            photos = storage.create_photos_table(connection, encoder.descriptor_dim, frame)
            thumbnails.create(connection)
            try:
                description = storage.describe_database(encoder, photos)
                settings = storage.create_settings(connection, description, model)
            except FileExistsError:
                connection.drop_table(photos, ignore_missing=True)
                return None
        return cls(address, connection, settings)

    @staticmethod
    def exist(address: str) -> bool:
        """Whether there is a place database; nothing is made or changed where there is none."""
        if not remote.is_remote(address) and not Path(address).is_dir():
            return False
        if not remote.is_remote(address):
            check_folder(address)
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

    def renew(self, *, anew: bool = False) -> Tables:
        """Return the tables as they are now: these, or others where the database was rebuilt or calibrated.

        That is noticed within two seconds; new and removed photos are seen without it. With ``anew`` they are opened
        in any case, as they may have been replaced by others of the same version, or a tag may have moved.
        """
        if anew:
            return Tables.open(self.address, self.pinned, self._index_cache_gb)
        if self.pinned is not None:
            return self
        with storage.translate_errors(self.address, "read"):
            if self.settings.version == self._version:
                return self
        return Tables(self.address, self.connection, self.settings)

    def check_writable(self) -> None:
        """Refuse to change what was opened at a version.

        Raises:
            ProgeoError: it was.
        """
        if self.pinned is not None:
            raise ProgeoError(
                f"The place database {self.address} was opened at version {self.pinned!r}, which cannot be changed. "
                "Open it without `version`."
            )

    def follow(self) -> None:
        """Go over to the table of photos that is the database's now, at once."""
        if self.pinned is None and storage.find_latest_version(self.settings, self.address) != self._version:
            self._read()

    def read_model(self) -> bytes:
        """Return the model, as the content of a model file."""
        with storage.translate_errors(self.address, "read the model of"):
            return storage.read_setting(self.settings, "model")

    @cached_property
    def calibration(self) -> Calibration | None:
        """What was learned of the confidence of this database's estimates, if anything."""
        with storage.translate_errors(self.address, "read"):
            content = storage.read_setting(self.settings, "calibration")
        try:
            return Calibration.from_dict(parse_json(content)) if content else None
        except ValueError as error:
            logger.warning(
                f"The calibration of the place database {self.address} is damaged ({error}) and is left aside: make it "
                "anew with progeo calibrate."
            )
            return None

    def store_calibration(self, calibration: Calibration) -> None:
        """Keep a calibration with the database."""
        self.check_writable()
        with storage.translate_errors(self.address, "write to"):
            storage.write_settings(self.settings, {"calibration": calibration.to_dict()})
        self.calibration = calibration

    @cached_property
    def kept_keypoints(self) -> Any | None:
        """The table of the keypoints that are kept with the database; None where none are."""
        with storage.translate_errors(self.address, "read"):
            there = storage.KEYPOINTS in self.connection.list_tables().tables
            return versions.check_out_tag(self.connection.open_table(storage.KEYPOINTS), self.pinned) if there else None

    @property
    def parts(self) -> list[Any]:
        """The tables of photos, thumbnails and keypoints, those that there are."""
        return [part for part in (self.photos, self.pictures, self.kept_keypoints) if part is not None]

    @property
    def frame(self) -> Frame:
        """In which the photos' positions are: the names of their two columns."""
        return find_frame(self.photos.schema.names)

    def read_version(self) -> int:
        """Return the number of the version of the photos that is read."""
        with storage.translate_errors(self.address, "read"):
            return int(self.photos.version)

    def count_photos(self) -> int:
        """Return the number of photos."""
        with storage.translate_errors(self.address, "read"):
            return int(self.photos.count_rows())

    def check_not_empty(self) -> None:
        """Refuse to search where there is nothing.

        Raises:
            ProgeoError: the database holds no photos.
        """
        if self.count_photos() == 0:
            raise ProgeoError(
                f"The place database {self.address} is empty. Add photos with: progeo index PHOTOS `database` "
                f"{self.address}"
            )

    def read_columns(self, *columns: str) -> pl.DataFrame:
        """Return columns of all photos."""
        with storage.translate_errors(self.address, "read"):
            table = pl.from_arrow(self.photos.search().select(list(columns)).to_arrow())
        assert isinstance(table, pl.DataFrame)
        return drop_damaged(table, self.address)

    def count_credits(self) -> pl.DataFrame:
        """Do what ``PlaceDatabase.credits`` says."""
        keys = ["author", "licence", "licence_url", "source"]
        parts = [
            batch.drop_nulls(["author", "licence"])
            .group_by(keys)
            .agg(pl.len().alias("photos"), pl.col("page_url").min())
            for batch in scan(self.photos, CREDIT_COLUMNS, self.address)
        ]
        schema = {**dict.fromkeys((*keys, "page_url"), pl.String()), "photos": pl.UInt32()}
        rows = pl.concat([pl.DataFrame(schema=schema), *parts], how="diagonal_relaxed")
        counts = rows.group_by(keys).agg(pl.col("photos").sum(), pl.col("page_url").min())
        return counts.sort("photos", *keys, descending=[True, *[False] * len(keys)])

    def find_content(self, paths: Iterable[str | Path]) -> set[str]:
        """Return which of some photo files are stored, known by their content, under whatever name.

        Raises:
            OSError: a file cannot be read.
        """
        hashes = {str(path): hash_content(objects.read_photo(str(path))) for path in paths}
        stored: set[str] = set()
        for batch in scan(self.photos, ["content_hash"], self.address):
            stored |= set(hashes.values()) & set(batch["content_hash"])
        return {path for path, content_hash in hashes.items() if content_hash in stored}

    def read_thumbnail(self, id: str) -> bytes:
        """Return the small JPEG of a photo.

        Raises:
            ProgeoError: there is no photo with this id.
        """
        with storage.translate_errors(self.address, "read"):
            content = self.find_thumbnail(id)
        if content is None:
            raise ProgeoError(f"There is no photo {id[:80]!r} in the place database.")
        return content

    def read_path(self, id: str) -> str:
        """Return the source path of a photo.

        Raises:
            ProgeoError: there is no photo with this id.
        """
        with storage.translate_errors(self.address, "read"):
            found = self.photos.search().where(f"id = {storage.quote(id)}").select(["path"]).limit(1).to_arrow()
        if len(found) == 0:
            raise ProgeoError(f"There is no photo {id[:80]!r} in the place database.")
        path: str = found["path"][0].as_py()
        return path

    def find_thumbnail(self, id: str) -> bytes | None:
        """Return the small JPEG of a photo; None where there is none."""
        pictures = self.pictures
        return thumbnails.read(self.photos if pictures is None else pictures, id)

    @property
    def pictures(self) -> Any | None:
        """The table of thumbnails; None where they lie in the table of photos."""
        pictures = thumbnails.open_thumbnails(self.connection, self.photos)
        return None if pictures is None else versions.check_out_tag(pictures, self.pinned)

    @property
    def target(self) -> Target:
        """Where photos are added to, and removed from; an object store has shown that it loses no commit."""
        self.check_writable()
        objects.check_commits(self.address)
        return Target(self.photos, self.connection, self.address)
