"""The search among the photos of a place database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from progeo.data.credits import CREDIT_COLUMNS, complete_credits
from progeo.data.frames import LOCAL, find_frame
from progeo.errors import ProgeoError
from progeo.locating.prior import NoPhotoFitsError, Prior
from progeo.models.encoder import Descriptors
from progeo.places import approximate, cells, storage
from progeo.places.plan import drop_damaged
from progeo.search.rerank import Query, Reranker, Verification

if TYPE_CHECKING:
    from progeo.places.tables import Tables

MATCH_COLUMNS = ["heading", "timestamp", *CREDIT_COLUMNS]

CANDIDATES = 60
"""Photos that the approximate index proposes; they are compared by their full descriptors."""


def search_photos(
    tables: Tables, descriptors: Descriptors, k: int, prior: Prior | None, exact: bool
) -> list[pl.DataFrame]:
    """Do what ``PlaceDatabase.search`` says, without a reranker."""
    if descriptors.ndim != 2 or descriptors.shape[1] != tables.descriptor_dim:
        raise ProgeoError(
            f"The descriptors have shape {descriptors.shape}, but the photos of {tables.address} have "
            f"{tables.descriptor_dim} dimensions. Encode the queries with the database's own model."
        )
    if not np.isfinite(descriptors).all():
        raise ProgeoError("A descriptor holds NaN or infinity. A damaged model gives such values; try another one.")
    if prior and prior.near and prior.local_frame != (tables.frame == LOCAL):
        kind = "x and y in metres of a local frame" if tables.frame == LOCAL else "latitude and longitude"
        raise ProgeoError(f"`near` must be {kind}, as the positions of {tables.address} are (`local_frame` of Prior).")
    with storage.translate_errors(tables.address, "search"):
        condition = cells.to_filter(tables.photos, prior)
        probes = approximate.count_probes(tables.count_photos())
        matches = [find_matches(tables, descriptor, k, condition, exact, probes) for descriptor in descriptors]
    if matches and matches[0].is_empty():
        tables.check_not_empty()
        if prior is None:
            raise ProgeoError(f"No photo in {tables.address} can be used: index the photos again.")
        raise NoPhotoFitsError(f"No photo of the database is {prior.describe()}. Please widen the search.")
    return matches


def find_matches(
    tables: Tables, descriptor: NDArray[np.float32], k: int, condition: str | None, exact: bool, probes: int
) -> pl.DataFrame:
    """Return the ``k`` photos nearest to a descriptor (D,), as ``PlaceDatabase.search`` gives them.

    Of several views of one panorama only the nearest counts, or a single place would fill the list.

    Args:
        tables: of the database.
        descriptor: float32 (D,).
        k: how many.
        condition: of SQL, that the photos must fulfil.
        exact: leave the approximate index aside.
        probes: how many partitions of that index are searched.
    """
    limit = k
    while True:
        found = _find_nearest(tables.photos, descriptor, limit, condition, exact, probes)
        distinct = drop_damaged(found, tables.address).unique("shot", keep="first", maintain_order=True)
        if len(distinct) >= k or len(found) < limit:
            return distinct.head(k).drop("shot")
        limit *= 4


def _find_nearest(
    photos: Any, descriptor: NDArray[np.float32], k: int, condition: str | None, exact: bool, probes: int
) -> pl.DataFrame:
    """Return the nearest photos, and in ``shot`` what the views of one panorama have in common."""
    query = photos.search(descriptor, vector_column_name="descriptor").distance_type("l2").limit(k)
    query = query.nprobes(probes).refine_factor(max(1, CANDIDATES // k))
    if condition:
        # No limit to the partitions: the few photos that fit may be in any.
        query = query.where(condition, prefilter=True).maximum_nprobes(0)
    if exact:
        query = query.bypass_vector_index()
    columns = ["id", "path", *find_frame(photos.schema.names), *MATCH_COLUMNS]
    present = [name for name in (*columns, "pano_id") if name in photos.schema.names]
    found = complete_credits(pl.DataFrame(query.select([*present, "_distance"]).to_arrow()))
    # Lance gives squared distances; rounding can leave one just below zero.
    distance = pl.col("_distance").cast(pl.Float64).clip(lower_bound=0).sqrt()
    shot = pl.coalesce("pano_id", "id")
    return found.select(*columns, descriptor_distance=distance, shot=shot)


def rerank_matches(
    matches: Sequence[pl.DataFrame], rerank: Reranker, queries: Sequence[Query] | None
) -> list[pl.DataFrame]:
    """Return the matches of each query as a reranker orders them; those that it leaves out are dropped.

    Those of a reranker that verifies have further columns, as in ``Verification``: ``verified_distance``, ``inliers``,
    ``strength`` (null where no floor is known), ``coverage``.

    Raises:
        ProgeoError: there are no queries to look at.
    """
    if queries is None:
        raise ProgeoError("A reranker needs `queries`, which give the pixels of the photos.")
    return [_rerank(table, rerank, query) for table, query in zip(matches, queries, strict=True)]


def _rerank(table: pl.DataFrame, rerank: Reranker, query: Query) -> pl.DataFrame:
    found = rerank(query, table["path"].to_list(), table["descriptor_distance"].to_numpy())
    if not isinstance(found, Verification):
        return table[found]
    columns = {name: getattr(found, name) for name in ("inliers", "strength", "coverage")}
    verified = table.with_columns(verified_distance=found.distances, **columns)[found.order]
    return verified.with_columns(pl.col("strength").fill_nan(None))
