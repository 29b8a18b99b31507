"""The approximate index in segments: each covers some data files and is built by whoever; one commit joins them.

All share their centroids and rotation, which are trained once on a sample of the photos. By way of pylance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from progeo.places import approximate, fragments

MOST = 16
"""Queries look into each: of hundreds they are slow (Lance issue 6860)."""
NAME = "descriptor_idx"
"""What LanceDB calls the index of this column, and finds it by."""


@dataclass(frozen=True)
class Training:
    """What all segments of an index share.

    Attributes:
        uri: of the Lance table of photos.
        version: of the table.
        centroids: of the partitions.
        rotation: of the quantisation, as Lance describes it.
    """

    uri: str
    version: int
    centroids: pa.FixedSizeListArray
    rotation: str


def train(uri: str, dimension: int) -> Training:
    """Train what the segments share, on a sample of the photos of a table."""
    lance = fragments.load()
    from lance.indices import IndicesBuilder
    from lance.lance import indices

    table = lance.dataset(uri)
    count, settings = table.count_rows(), approximate.TRAINING
    partitions = approximate.count_partitions(count)
    model = IndicesBuilder(table, "descriptor").train_ivf(
        partitions,
        distance_type=settings["distance_type"],
        sample_rate=min(settings["sample_rate"], count // partitions),
        max_iters=settings["max_iterations"],
    )
    return Training(uri, table.version, model.centroids, indices.build_rq_model(dimension, 1, "float16"))


def divide(training: Training, parts: int) -> list[list[int]]:
    """Return the numbers of the table's fragments, divided into at most so many parts of about as many photos."""
    table = fragments.load().dataset(training.uri, version=training.version)
    sizes = sorted(((fragment.count_rows(), fragment.fragment_id) for fragment in table.get_fragments()), reverse=True)
    divided: list[tuple[int, list[int]]] = [(0, []) for _ in range(min(parts, MOST, len(sizes)))]
    for size, number in sizes:
        total, numbers = min(divided)
        divided[divided.index((total, numbers))] = (total + size, [*numbers, number])
    return [numbers for _, numbers in divided]


def build(training: Training, numbers: list[int]) -> Any:
    """Build the segment of some fragments; return what Lance says of it. The table does not change."""
    table = fragments.load().dataset(training.uri, version=training.version)
    return table.create_index_uncommitted(
        "descriptor",
        "IVF_RQ",
        name=NAME,
        replace=True,  # of an earlier index of this name, once it is committed
        metric=approximate.TRAINING["distance_type"],
        num_partitions=len(training.centroids),
        ivf_centroids=training.centroids,
        rabitq_model=training.rotation,
        num_bits=1,
        fragment_ids=numbers,
    )


def commit(training: Training, segments: list[Any]) -> None:
    """Make segments the index of the table, in place of any other."""
    fragments.load().dataset(training.uri).commit_existing_index_segments(NAME, "descriptor", segments)
