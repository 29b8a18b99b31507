"""Re-ranking in a place database: the keypoints of its photos, and what wrong pairs of them reach."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from progeo.console import logger, progress_bar, warn_once
from progeo.data.frames import read_points
from progeo.data.sphere import measure_distances
from progeo.errors import ProgeoError
from progeo.models.encoder import Encoder
from progeo.places import storage
from progeo.places.keypoints import keep_keypoints, read_keypoints
from progeo.places.leaving_out import LEFT_OUT_WITHIN
from progeo.places.plan import scan
from progeo.places.searching import search_photos
from progeo.places.tables import Tables
from progeo.plain import read_dataclass
from progeo.search.evidence import FEWEST_PAIRS, LOOKED_THROUGH, PAIRS_PER_PHOTO, Yardstick, choose_sample
from progeo.search.keypoint_cache import KeypointCache
from progeo.search.keypoints import Keypoints
from progeo.search.matching import Method
from progeo.search.methods import create_methods
from progeo.search.photo_files import PhotoFiles
from progeo.search.rerank import Reranker, no_rerank
from progeo.search.verifier import Verifier

SETTING = "wrong_pairs"
GROWTH = 1.2
"""So many times as many photos, or as few, and the wrong pairs are compared again."""


@dataclass(frozen=True)
class WrongPairs:
    """What a database keeps of pairs of photos that look alike and lie far apart."""

    photos: int
    yardstick: Yardstick | None


def create_reranker(
    tables: Tables, name: str, encoder: Encoder, candidates: int, cache_folder: str | Path | None
) -> Reranker:
    """Return a reranker of a database by its name; what it must know it learns now, unless the database knows it.

    Raises:
        ProgeoError: as of ``create_methods``, or the database cannot be read.
    """
    methods = create_methods(name, encoder)
    if not methods:
        return no_rerank
    photos = DatabasePhotos(tables, encoder, KeypointCache(cache_folder))
    verifier = Verifier(methods, photos, candidates=candidates, num_workers=encoder.num_workers)
    count = tables.count_photos()
    with storage.translate_errors(tables.address, "read"):
        known = storage.read_description(tables.settings, SETTING)
        known = known if isinstance(known, dict) else {}
    missing = [method for method in methods if not _is_known(known.get(method.key), count)]
    if missing:
        pairs = find_wrong_pairs(tables)
        learner = Verifier(missing, photos, num_workers=encoder.num_workers)
        with progress_bar(disable=not (encoder.show_progress and pairs)) as progress:
            task = progress.add_task("Comparing photos of the database that lie far apart", total=len(pairs))
            learner.learn(pairs, lambda: progress.advance(task))
        for method in missing:
            yardstick = learner.yardsticks[method.name]
            known[method.key] = {"photos": count, "yardstick": None if yardstick is None else asdict(yardstick)}
            if yardstick is None:
                # A service comes here whenever its database is renewed.
                warn_once(
                    f"{tables.address} has fewer than {FEWEST_PAIRS} pairs of photos that look alike but lie far "
                    "apart. From these re-ranking learns how many details agree by chance. So re-ranking by "
                    f"{method.name} leaves the photos found in the order of their descriptors."
                )
        try:
            if tables.pinned is None:
                with storage.translate_errors(tables.address, "write to"):
                    storage.write_settings(tables.settings, {SETTING: known})
        except ProgeoError as error:  # whoever may only read learns it each time
            logger.warning(str(error))
    for method in methods:
        content = known[method.key]["yardstick"]
        verifier.yardsticks[method.name] = None if content is None else Yardstick(**content)
    return verifier


def _is_known(content: Any, photos: int) -> bool:
    """Whether what was learned is of about as many photos as there are."""
    try:
        known = read_dataclass(WrongPairs, content)
    except ValueError:  # nothing, or something damaged
        return False
    return photos / GROWTH <= known.photos <= photos * GROWTH


def find_wrong_pairs(tables: Tables) -> list[tuple[str, str]]:
    """Return the paths of photos that look alike and lie far apart."""
    paths = tables.read_columns("path")["path"].sort()
    if paths.is_empty():
        return []
    sample = paths[choose_sample(len(paths))].to_list()
    some = ", ".join(storage.quote(path) for path in sample)
    columns = ["path", *tables.frame, "descriptor"]
    table = pl.concat(scan(tables.photos, columns, tables.address, f"path IN ({some})")).sort("path")
    if table.is_empty():
        return []
    descriptors = np.stack(table["descriptor"].to_list()).astype(np.float32)
    points = read_points(table)
    pairs = []
    found = search_photos(tables, descriptors, min(LOOKED_THROUGH, len(paths)), None, False)
    for path, point, matches in zip(table["path"], points, found, strict=True):
        far = matches.filter(pl.Series(measure_distances(read_points(matches), point) > LEFT_OUT_WITHIN)).head(
            PAIRS_PER_PHOTO
        )
        pairs += [(path, other) for other in far["path"]]
    return pairs


def keep_local_features(tables: Tables, encoder: Encoder, most: int) -> tuple[int, int]:
    """Do what ``PlaceDatabase.keep_local_features`` says."""
    (method,) = create_methods("dense" if encoder.has_local_features else "sift", encoder)
    photos = DatabasePhotos(tables, encoder, KeypointCache())
    with progress_bar(disable=not encoder.show_progress) as progress:
        task = progress.add_task("Local features", total=tables.count_photos())
        return keep_keypoints(tables, method, most, photos, lambda done: progress.advance(task, done))


class DatabasePhotos:
    """Gives keypoints of the photos of a database: those it keeps, else of the photo, else of its thumbnail.

    Attributes:
        from_thumbnails: paths of photos whose file is gone.
    """

    def __init__(self, tables: Tables, encoder: Encoder, cache: KeypointCache) -> None:
        """Keep where photos are, what reads them, and where their keypoints are kept."""
        self.from_thumbnails: set[str] = set()
        self._tables, self._encoder, self._cache = tables, encoder, cache
        self._files = PhotoFiles(encoder.read, cache)

    def __call__(self, method: Method, path: str) -> Keypoints | None:
        """Return the keypoints of a photo; None where there is nothing to be had of it."""
        kept = read_keypoints(self._tables, method, path)
        if kept is not None:
            return kept
        keypoints = self._files(method, path)
        return self._describe_thumbnail(method, path) if keypoints is None else keypoints

    def _describe_thumbnail(self, method: Method, path: str) -> Keypoints | None:
        with storage.translate_errors(self._tables.address, "read"):
            query = self._tables.photos.search().where(f"path = {storage.quote(path)}").select(["id"])
            ids = query.limit(1).to_arrow()["id"].to_pylist()
            thumbnail = self._tables.find_thumbnail(ids[0]) if ids else None
        if thumbnail is None:
            return None
        try:
            keypoints = self._cache.get(
                method, f"thumbnail {ids[0]}", lambda: method.extract(self._encoder.read(thumbnail, path))
            )
        except ProgeoError:
            return None
        self.from_thumbnails.add(path)
        return keypoints
