"""Test sets as towns: their databases are searched as place databases are, their matches verified, in memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from progeo.data.positions import complete_positions
from progeo.data.sphere import Floats, measure_distances, to_points
from progeo.data.table import read_photos
from progeo.locating import default
from progeo.locating.default import Examples
from progeo.locating.evidence import RIGHT_WITHIN, Evidence, weigh_evidence
from progeo.models.encoder import Descriptors, Encoder
from progeo.places.database import MATCHES
from progeo.places.leaving_out import LEFT_OUT_WITHIN, compare, draw_sample
from progeo.places.searching import rerank_matches
from progeo.search.evidence import choose_sample, find_wrong_pairs
from progeo.search.exact import Integers
from progeo.search.keypoint_cache import KeypointCache
from progeo.search.methods import DEFAULT, create_methods
from progeo.search.photo_files import PhotoFiles
from progeo.search.rerank import Reranker, no_rerank
from progeo.search.verifier import Verifier

HAMLETS = 60
FEWEST_OUTSIDE = 40

Bools = NDArray[np.bool_]


@dataclass
class Town:
    """A set: its database as it is searched by one model, and its queries with where they were taken."""

    name: str
    head: str
    """Of the model."""
    database: pl.DataFrame
    """``id``, ``path``, ``latitude``, ``longitude``."""
    descriptors: Descriptors
    """Of the database, rounded as it keeps them."""
    queries: Descriptors
    paths: list[str]
    """Of the queries."""
    truth: Floats
    encoder: Encoder | None = None
    rerank: Reranker = no_rerank
    outsiders: Descriptors = field(default_factory=lambda: np.empty((0, 0), np.float32))
    """Queries of other towns."""
    outsider_paths: list[str] = field(default_factory=list)

    @cached_property
    def points(self) -> Floats:
        return to_points(self.database["latitude"].to_numpy(), self.database["longitude"].to_numpy())

    def search(self, queries: Descriptors, k: int = MATCHES, *, without: Floats | None = None) -> list[pl.DataFrame]:
        """As ``PlaceDatabase.search``; for each query without the photos around a point (Q, 3), where that is given."""
        tables = []
        for number, query in enumerate(queries):
            distances = np.linalg.norm(self.descriptors - query, axis=1).astype(np.float64)
            if without is not None:
                distances[measure_distances(self.points, without[number]) <= LEFT_OUT_WITHIN] = np.inf
            nearest = np.argsort(distances, kind="stable")[:k]
            nearest = nearest[np.isfinite(distances[nearest])]
            tables.append(self.database[nearest].with_columns(descriptor_distance=distances[nearest]))
        return tables

    def verify(self, tables: list[pl.DataFrame], paths: list[str]) -> list[pl.DataFrame]:
        """Return matches in the order of the reranker."""
        if self.rerank is no_rerank or self.encoder is None:
            return tables
        return rerank_matches(tables, self.rerank, [partial(self.encoder.read, path) for path in paths])

    @cached_property
    def plain(self) -> list[pl.DataFrame]:
        """Matches by descriptors alone."""
        return self.search(self.queries)

    @cached_property
    def matches(self) -> list[pl.DataFrame]:
        """Those as they are verified."""
        return self.verify(self.plain, self.paths)

    @cached_property
    def plain_evidence(self) -> list[Evidence]:
        return [weigh_evidence(table) for table in self.plain]

    @cached_property
    def evidence(self) -> list[Evidence]:
        return [weigh_evidence(table) for table in self.matches]

    @cached_property
    def plain_outside(self) -> list[Evidence]:
        """Of queries of other towns."""
        return [weigh_evidence(table) for table in self.search(self.outsiders)]

    @cached_property
    def outside(self) -> list[Evidence]:
        return [weigh_evidence(table) for table in self.verify(self.search(self.outsiders), self.outsider_paths)]

    @cached_property
    def removed(self) -> list[Evidence]:
        """Of the queries with their own place taken out of the database."""
        tables = self.search(self.queries, without=self.truth)
        some = [number for number, table in enumerate(tables) if len(table)]
        return [
            weigh_evidence(table)
            for table in self.verify([tables[number] for number in some], [self.paths[number] for number in some])
        ]

    @cached_property
    def examples(self) -> Examples:
        """As an index learns from."""
        table = self.database.with_columns(descriptor=pl.Series(self.descriptors.tolist()))
        sample = draw_sample(self.database).join(table.select("id", "descriptor"), on="id", how="left")
        return compare(sample, iter([table]), MATCHES)

    @cached_property
    def hamlets(self) -> tuple[list[Evidence], Bools, Bools]:
        return judge_hamlets(self)

    def measure_errors(self, points: Floats) -> Floats:
        return measure_distances(points, self.truth)

    @cached_property
    def plain_errors(self) -> Floats:
        return self.measure_errors(np.stack([item.point for item in self.plain_evidence]))

    @cached_property
    def errors(self) -> Floats:
        return self.measure_errors(np.stack([item.point for item in self.evidence]))

    @cached_property
    def first_errors(self) -> Floats:
        """Of the first match, verified."""
        first = [to_points(table["latitude"][0], table["longitude"][0]) for table in self.matches]
        return self.measure_errors(np.stack(first))


def read_positions(folder: Path, cache: Path) -> pl.DataFrame:
    """Read an image table; coordinates without a zone, which are made up, are taken to be in one."""
    table = read_photos(folder, cache)
    made_up = pl.col("latitude").is_null() & (pl.col("utm_zone").is_null() | pl.col("utm_letter").is_null())
    return complete_positions(
        table.with_columns(
            utm_zone=pl.when(made_up).then(31).otherwise("utm_zone"),
            utm_letter=pl.when(made_up).then(pl.lit("N")).otherwise("utm_letter"),
        )
    )


def describe_town(name: str, folder: Path, encoder: Encoder, out: Path) -> Town:
    """Encode a set, or read what an earlier start has encoded; let a reranker learn from its database."""
    head = str(encoder.spec.head)
    path = out / f"{name}_{head}.npz"
    if not path.is_file():
        content: dict[str, Any] = {}
        for part in ("database", "queries"):
            table = read_positions(folder / part, out / "cache")
            described, _ = encoder.encode_readable(table["path"].to_list())
            table = table.filter(table["path"].is_in(list(described)))
            content[part] = np.stack([described[path] for path in table["path"]])
            content |= {f"{part}_{column}": table[column].to_numpy() for column in ("latitude", "longitude")}
            content[f"{part}_path"] = np.array(table["path"].to_list())
        np.savez(path, **content)
    stored = np.load(path, allow_pickle=False)
    columns: dict[str, Any] = {column: stored[f"database_{column}"] for column in ("latitude", "longitude")}
    ids = [f"{row:06d}" for row in range(len(stored["database"]))]
    town = Town(
        name,
        head,
        pl.DataFrame({"id": ids, "path": stored["database_path"].tolist(), **columns}),
        stored["database"].astype(np.float16).astype(np.float32),
        stored["queries"],
        stored["queries_path"].tolist(),
        to_points(stored["queries_latitude"], stored["queries_longitude"]),
        encoder,
    )
    photos = PhotoFiles(encoder.read, KeypointCache(out / "cache"))
    verifier = Verifier(create_methods(DEFAULT, encoder), photos, num_workers=encoder.num_workers)
    verifier.learn(find_far_pairs(town))
    return replace(town, rerank=verifier)


def find_far_pairs(town: Town) -> list[tuple[str, str]]:
    """Return the paths of photos of a town that look alike and lie far apart."""
    sample = choose_sample(len(town.database))
    found = np.stack([np.argsort(np.linalg.norm(town.descriptors - town.descriptors[row], axis=1)) for row in sample])

    def is_far(row: int, others: Integers) -> Bools:
        far: Bools = measure_distances(town.points[others], town.points[row]) > LEFT_OUT_WITHIN
        return far

    paths = town.database["path"]
    return [(paths[one], paths[other]) for one, other in find_wrong_pairs(sample, found, is_far).tolist()]


def send_outsiders(towns: list[Town], encoders: dict[str, Encoder]) -> None:
    """Give each town photos of the others, as many as it has queries, drawn by lot."""
    for town in towns:
        others = [path for other in towns if other is not town for path in other.paths]
        count = max(FEWEST_OUTSIDE, len(town.paths))
        drawn = np.random.default_rng(0).permutation(len(others))[:count].tolist()
        town.outsider_paths = [others[number] for number in drawn]
        # A fitted model is one of the town: it describes photos of others in its own way.
        town.outsiders = encoders[town.name].encode(town.outsider_paths)


def judge_hamlets(town: Town) -> tuple[list[Evidence], Bools, Bools]:
    """Search databases of one to seven places of a town, for which the default is there, for all its queries.

    Returns:
        The evidence, which estimates are right, and which queries are inside; of these as many as outside.
    """
    generator = np.random.default_rng(0)
    evidence: list[Evidence] = []
    right: list[bool] = []
    inside: list[bool] = []
    for number in range(HAMLETS):
        middles = town.points[generator.choice(len(town.points), 1 + number % (default.FEWEST_PLACES - 1))]
        rows = np.flatnonzero((measure_distances(town.points[:, None], middles) <= RIGHT_WITHIN).any(axis=1))
        hamlet = replace(town, database=town.database[rows], descriptors=town.descriptors[rows])
        nearest = measure_distances(town.truth[:, None], hamlet.points).min(axis=1)
        shown = np.asarray(nearest <= RIGHT_WITHIN)
        chosen = np.flatnonzero(shown)
        others = generator.permutation(np.flatnonzero(~shown))[: len(chosen)]
        asked = np.concatenate([chosen, others])
        for query, table in zip(asked.tolist(), hamlet.search(town.queries[asked]), strict=True):
            item = weigh_evidence(table)
            evidence.append(item)
            right.append(bool(measure_distances(item.point, town.truth[query]) <= RIGHT_WITHIN))
            inside.append(bool(shown[query]))
    return evidence, np.array(right), np.array(inside)
