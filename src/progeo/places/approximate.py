"""The approximate index of a place database: built by itself once comparing with every photo would be slow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from progeo.places import cells, storage, tidying
from progeo.places.lance import lancedb

Descriptors = NDArray[np.float32]

PHOTOS_TO_INDEX = 20_000
"""From this many photos on there is an index; below, comparing with all of them takes milliseconds."""
GROWTH_TO_RETRAIN = 4
"""How many times the photos that an index was trained on there may be before it is trained again."""
SAMPLE = 100
TRAINING: dict[str, Any] = {"distance_type": "l2", "sample_rate": 64, "max_iterations": 20}


def refresh(photos: Any, pictures: Any | None, settings: Any, dimension: int, search: Any) -> str | None:
    """Do what ``PlaceDatabase.refresh_index`` says, for its Lance tables and its ``search``."""
    is_old = lacks_index(photos, settings)
    if is_old:
        with tidying.leave_to_others():
            train(photos, dimension)
            note(photos, settings)
        for table, columns in ((photos, ("path", cells.COLUMN)), (pictures, ("id",))):
            index_columns(table, columns)
    if tidying.has_many_files(photos) or count_unindexed(photos) >= PHOTOS_TO_INDEX:
        tidying.tidy(photos)
    if not is_old:  # comparing with all photos would take longer than adding a few
        return None
    agreed, sample = measure_agreement(photos, search)
    return f"The approximate index finds the same first photo as exact search in {agreed} of {sample} cases"


def index_columns(table: Any | None, columns: Sequence[str]) -> None:
    """Make an index of each of these columns of a table, if it has them, where there is none yet."""
    if table is None:
        return
    indexed = {name for index in table.list_indices() for name in index.columns}
    for column in columns:
        if column in table.schema.names and column not in indexed:
            with tidying.leave_to_others():
                table.create_index(column, config=lancedb.index.BTree())


def count_unindexed(photos: Any) -> int:
    """Return how many photos one of the indices does not hold; they are compared one by one."""
    names = [index.name for index in photos.list_indices()]
    return max((photos.index_stats(name).num_unindexed_rows for name in names), default=0)


def describe(photos: Any) -> dict[str, int] | None:
    """Return how many ``photos`` the approximate index holds and how many are ``waiting``, and its ``segments``."""
    for index in photos.list_indices():
        if index.columns == ["descriptor"]:
            stats = photos.index_stats(index.name)
            indexed, waiting = stats.num_indexed_rows, stats.num_unindexed_rows
            return {"photos": indexed, "waiting": waiting, "segments": stats.num_indices}
    return None


def warm_up(photos: Any) -> None:
    """Read the approximate index into memory, if there is one."""
    for index in photos.list_indices():
        if index.columns == ["descriptor"]:
            photos.prewarm_index(index.name)


def lacks_index(photos: Any, settings: Any) -> bool:
    """Return whether there are so many photos that they need an index, or one trained on more of them."""
    count = photos.count_rows()
    trained = storage.read_description(settings, "index")
    is_fresh = trained and trained["photos"] == photos.name and count <= GROWTH_TO_RETRAIN * trained["count"]
    return count >= PHOTOS_TO_INDEX and not is_fresh


def note(photos: Any, settings: Any) -> None:
    """Note that an index has been trained on all photos of a Lance table."""
    storage.write_settings(settings, {"index": {"photos": photos.name, "count": photos.count_rows()}})


def count_partitions(photos: int) -> int:
    """Return into how many partitions an index of so many photos divides them: as many as each holds photos."""
    return max(1, math.isqrt(photos))


def count_probes(photos: int) -> int:
    """Return how many partitions of the index of so many photos are searched, so that 98 % of first photos are found.

    The share falls with the size, as more centres lie nearer to their photos. ``benchmarks/places.py`` measures it.
    """
    return math.ceil(1.25 * math.pow(count_partitions(photos), 0.75))


def train(photos: Any, dimension: int) -> None:
    """Train an index on all photos of a Lance table, in place of any other."""
    # One bit per value (RaBitQ), trained in seconds; product quantisation takes minutes on float16. The candidates it
    # proposes are compared by their full descriptors.
    settings = TRAINING | {"num_partitions": count_partitions(photos.count_rows())}
    config = lancedb.index.IvfRq(**settings) if dimension % 8 == 0 else lancedb.index.IvfFlat(**settings)
    photos.create_index("descriptor", config=config, replace=True)


def measure_agreement(photos: Any, search: Any) -> tuple[int, int]:
    """Return for how many of a sample of photos index and exact search find the same most similar other photo.

    Args:
        photos: the Lance table.
        search: takes descriptors (Q, D) and returns the table of matches of each, with ``id``, by the index.

    Returns:
        The number of photos where both agree, and the number in the sample.
    """
    count = photos.count_rows()
    offsets = np.random.default_rng(0).choice(count, min(SAMPLE, count), replace=False)
    sample = photos.take_offsets(sorted(offsets.tolist())).select(["id", "descriptor"]).to_arrow()
    ids, descriptors = sample["id"].to_pylist(), to_matrix(sample["descriptor"].combine_chunks())
    exact = find_nearest_others(photos, ids, descriptors)
    agreed = 0
    for own, nearest, matches in zip(ids, exact, search(descriptors, 2), strict=True):
        agreed += next(iter(matches["id"].filter(matches["id"] != own)), None) == nearest
    return agreed, len(ids)


def find_nearest_others(photos: Any, ids: list[str], descriptors: Descriptors) -> list[str]:
    """Return for each photo the id of the most similar other one, in one pass over the table."""
    nearest, smallest = [""] * len(ids), np.full(len(ids), np.inf)
    for batch in photos.search().select(["id", "descriptor"]).to_batches():
        matrix = to_matrix(batch["descriptor"])
        # Squared distances up to the square of the query, which is the same for all.
        distances = (matrix**2).sum(axis=1) - 2 * descriptors @ matrix.T
        own = pc.index_in(batch["id"], value_set=pa.array(ids)).to_numpy(zero_copy_only=False)
        columns = np.flatnonzero(~np.isnan(own))
        distances[own[columns].astype(int), columns] = np.inf
        best = distances.argmin(axis=1)
        for row in np.flatnonzero(distances[np.arange(len(ids)), best] < smallest):
            nearest[row], smallest[row] = batch["id"][best[row]].as_py(), distances[row, best[row]]
    return nearest


def to_matrix(column: pa.FixedSizeListArray) -> Descriptors:
    """Return a column of descriptors as float32 (N, D)."""
    values: Descriptors = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    return values.reshape(len(column), -1)
