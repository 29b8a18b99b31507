"""The field's test sets by protocol: which images, what is right, how many there must be. All of it is data.

Results of place recognition differ by points where the protocol is not named: by the queries that were kept, by what
counted as right. Every protocol here names its source; ``checked`` says whether its counts were found in published
code or file lists, or are the ones that the papers state.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import polars as pl
from scipy.spatial import cKDTree

from progeo.errors import ProgeoError, suggest
from progeo.evaluation.positives import PUBLISHED_RULE, PositiveRule, read_coordinates

SAN_FRANCISCO, PITTSBURGH, OXFORD, AMSTERDAM, COPENHAGEN, TOKYO, BRISBANE = 10, 17, 30, 31, 33, 54, 56
NORDLAND_RAILWAY = (32, 33)


@dataclass(frozen=True)
class Protocol:
    """How one test set is evaluated.

    ``database_folders`` and ``queries_folders`` are the names that the two parts have, looked for in the folder of the
    test set and, where that holds several splits, in the one named ``split``.
    """

    name: str
    description: str
    database_images: int
    queries: int
    checked: bool
    source: str
    utm_zones: tuple[int, ...]
    """UTM zones of the places; positions that are made up have none."""
    rule: PositiveRule = PUBLISHED_RULE
    database_folders: tuple[str, ...] = ("database",)
    queries_folders: tuple[str, ...] = ("queries",)
    split: str = "test"
    structure: str | None = None
    """The file that lists the images where the set lies as NetVLAD's authors distribute it."""
    queries_column: str | None = None
    """A column of the image table that is true for the queries to evaluate; without it all are."""
    queries_step: int = 1
    """Queries are evaluated whose frame is a multiple of this: a column ``frame`` says which, or else their names."""
    queries_shorter_side: int | None = None
    """Queries with a longer shorter side are shrunk to this many pixels. Otherwise photos are as their set has them, by
    every protocol, for models that take more than one size."""
    note: str = ""


_DOWNLOADER = "VPR-datasets-downloader (Deep Visual Geo-localization Benchmark, arXiv 2204.03444)"
_COSPLACE = "CosPlace (arXiv 2204.02287)"
_SVOX = "SVOX (arXiv 2011.05883), layout of VPR-datasets-downloader"
_MSLS = "Mapillary SLS (CVPR 2020), mapillary_sls"
_NORDLAND = "VPR-datasets-downloader, split of Patch-NetVLAD (arXiv 2103.01486)"


def _svox(condition: str, queries: int) -> Protocol:
    return Protocol(
        name=f"svox-{condition}",
        description=f"SVOX, Oxford, queries: {condition}",
        database_images=17_166,
        queries=queries,
        checked=True,
        source=_SVOX,
        database_folders=("gallery", "database"),
        queries_folders=(f"queries_{condition}",),
        utm_zones=(OXFORD,),
    )


_ALL = (
    Protocol(
        name="pitts30k-test",
        description="Pittsburgh 30k, test",
        database_images=10_000,
        queries=6_816,
        checked=True,
        source=f"NetVLAD (arXiv 1511.07247), {_DOWNLOADER}",
        utm_zones=(PITTSBURGH,),
        structure="pitts30k_test.mat",
    ),
    Protocol(
        name="pitts250k-test",
        description="Pittsburgh 250k, test",
        database_images=83_952,
        queries=8_280,
        checked=False,
        source=f"NetVLAD (arXiv 1511.07247), {_DOWNLOADER}",
        utm_zones=(PITTSBURGH,),
        structure="pitts250k_test.mat",
    ),
    Protocol(
        name="tokyo247",
        description="Tokyo 24/7, queries version 2",
        database_images=75_984,
        queries=315,
        checked=False,
        source=f"24/7 Place Recognition by View Synthesis (CVPR 2015), {_DOWNLOADER}",
        queries_shorter_side=480,
        utm_zones=(TOKYO,),
        structure="tokyo247.mat",
    ),
    Protocol(
        name="msls-val",
        description="Mapillary SLS, val (Copenhagen, San Francisco), image to image",
        database_images=18_871,
        queries=740,
        checked=True,
        source=f"{_MSLS}; lists of the 740 queries come with GSV-Cities",
        split="val",
        queries_column="subtask_all",
        utm_zones=(COPENHAGEN, SAN_FRANCISCO),
        note="queries that subtask_index.csv marks as all and that have a positive, without panoramas",
    ),
    Protocol(
        name="msls-val-full",
        description="Mapillary SLS, val, every query that is no panorama",
        database_images=18_871,
        queries=11_084,
        checked=False,
        source=_DOWNLOADER,
        split="val",
        utm_zones=(COPENHAGEN, SAN_FRANCISCO),
    ),
    Protocol(
        name="st-lucia",
        description="St Lucia, Brisbane, first and last drive, a frame every 5 m",
        database_images=1_549,
        queries=1_464,
        checked=False,
        source=_DOWNLOADER,
        database_folders=("database", "gallery"),
        utm_zones=(BRISBANE,),
    ),
    Protocol(
        name="nordland",
        description="Nordland, every frame as query",
        database_images=27_592,
        queries=27_592,
        checked=False,
        source=_NORDLAND,
        rule=PositiveRule("frames", 10),
        utm_zones=NORDLAND_RAILWAY,
        note="database in summer and queries in winter; some papers have it the other way round",
    ),
    Protocol(
        name="nordland-2760",
        description="Nordland, every tenth frame as query",
        database_images=27_592,
        queries=2_760,
        checked=False,
        source="VPR-Bench (arXiv 2005.08135), VPR-datasets-downloader",
        rule=PositiveRule("frames", 1),
        utm_zones=NORDLAND_RAILWAY,
        queries_step=10,
        note="VPR-Bench has the database in winter and the queries in summer, VPR-datasets-downloader the reverse",
    ),
    Protocol(
        name="sf-xl-test-v1",
        description="San Francisco eXtra Large, test, queries version 1",
        database_images=2_805_840,
        queries=1_000,
        checked=False,
        source=_COSPLACE,
        queries_folders=("queries_v1",),
        utm_zones=(SAN_FRANCISCO,),
    ),
    Protocol(
        name="sf-xl-test-v2",
        description="San Francisco eXtra Large, test, queries version 2",
        database_images=2_805_840,
        queries=598,
        checked=False,
        source=_COSPLACE,
        queries_folders=("queries_v2",),
        utm_zones=(SAN_FRANCISCO,),
    ),
    Protocol(
        name="sf-xl-val",
        description="San Francisco eXtra Large, val",
        database_images=8_015,
        queries=7_993,
        checked=False,
        source=_COSPLACE,
        split="val",
        utm_zones=(SAN_FRANCISCO,),
    ),
    Protocol(
        name="amstertime",
        description="AmsterTime, old photos of a place looked for among new ones",
        database_images=1_231,
        queries=1_231,
        checked=True,
        source="AmsterTime (arXiv 2203.16291), layout of VPR-datasets-downloader",
        rule=PositiveRule("places", 0),
        utm_zones=(AMSTERDAM,),
    ),
    _svox("night", 823),
    _svox("overcast", 872),
    _svox("rain", 937),
    _svox("snow", 870),
    _svox("sun", 854),
)
PROTOCOLS = {protocol.name: protocol for protocol in _ALL}
"""Every protocol by its name, as ``protocol`` takes it."""


def find_protocol(name: str) -> Protocol:
    """Return a protocol; ProgeoError with the nearest names where there is none."""
    if name not in PROTOCOLS:
        raise ProgeoError(
            f"There is no protocol '{name}'{suggest(name, PROTOCOLS)}. The protocols are: {', '.join(PROTOCOLS)}."
        )
    return PROTOCOLS[name]


def find_rule(protocol: Protocol | None, positive_dist_threshold: float = PUBLISHED_RULE.limit) -> PositiveRule:
    """Return what is right: as a protocol has it, or else within so many metres.

    Raises:
        ProgeoError: the distance is none, or another than the protocol has.
    """
    if protocol is None:
        if not 0 <= positive_dist_threshold < math.inf:
            raise ProgeoError(f"`positive_dist_threshold` is in metres, and not {positive_dist_threshold:g}.")
        return PositiveRule("metres", positive_dist_threshold)
    if positive_dist_threshold != PUBLISHED_RULE.limit:
        raise ProgeoError(
            f"`protocol` {protocol.name} fixes what is right: {protocol.rule}. Leave out `positive_dist_threshold`; "
            "`radii` gives recalls at further distances."
        )
    return protocol.rule


def check_zones(protocol: Protocol, folder: str, database: pl.DataFrame, queries: pl.DataFrame) -> None:
    """Raise ProgeoError where the images were taken elsewhere, so that this is another data set."""
    zones = {zone for table in (database, queries) for zone in table["utm_zone"].drop_nulls().unique().to_list()}
    if zones - set(protocol.utm_zones):
        here = [other.name for other in _ALL if zones <= set(other.utm_zones)]
        raise ProgeoError(
            f"`protocol` {protocol.name} is {protocol.description}, UTM zone {_join(protocol.utm_zones)}, but photos "
            f"in {folder} lie in zone {_join(sorted(zones - set(protocol.utm_zones)))}: this is another data set."
            + (f" Protocols of that zone: {', '.join(here)}." if here else "")
        )


def select_queries(protocol: Protocol, database: pl.DataFrame, queries: pl.DataFrame) -> pl.DataFrame:
    """Return the queries that a protocol evaluates.

    Raises:
        ProgeoError: the table does not say which they are, and has more than they can be.
    """
    if protocol.queries_step > 1 and "frame" in queries.columns:
        return queries.filter(pl.col("frame") % protocol.queries_step == 0)
    if protocol.queries_step > 1 and len(queries) > protocol.queries:
        with _suspect_other_set(protocol, f"cannot choose among the {len(queries):,} queries"):
            frames = read_coordinates(protocol.rule, database, queries)[1][:, 0]
        return queries.filter(pl.Series(frames % protocol.queries_step == 0))
    column = protocol.queries_column
    if column is None:
        return queries
    if column in queries.columns:
        # In a CSV manifest it is a text.
        is_marked = pl.col(column).cast(pl.String).str.to_lowercase() == "true"
        return queries.filter(is_marked.fill_null(False))
    if len(queries) > protocol.queries:
        same_size = [other.name for other in _ALL if other.queries == len(queries)]
        hint = f" These look like the queries of `protocol` {same_size[0]}." if same_size else ""
        raise ProgeoError(
            f"`protocol` {protocol.name} evaluates {protocol.queries:,} queries ({protocol.note}), but the image table "
            f"has {len(queries):,} and no column {column} that marks them.{hint}"
        )
    return queries


def check_images(protocol: Protocol, folder: str, database: pl.DataFrame, queries: pl.DataFrame) -> list[str]:
    """Return how a test set differs from what its protocol fixes, as sentences; nothing where it does not.

    Raises:
        ProgeoError: the images have no frame or place numbers where the protocol needs them, or no query has a
            positive, so that this is another data set.
    """
    with _suspect_other_set(protocol, f"cannot be measured on {folder}"):
        in_database, in_queries = read_coordinates(protocol.rule, database, queries)
        if not (cKDTree(in_database).query(in_queries)[0] <= protocol.rule.limit).any():
            raise ProgeoError(f"Not one query has a database image {protocol.rule}.")
    counts = (
        ("database images", len(database), protocol.database_images),
        ("queries", len(queries), protocol.queries),
    )
    return [
        f"the number of {what} is {found:,} instead of {official:,}"
        for what, found, official in counts
        if found != official
    ]


@contextmanager
def _suspect_other_set(protocol: Protocol, failure: str) -> Iterator[None]:
    """Say of errors which protocol fails, how, and that the images may be of another data set."""
    try:
        yield
    except ProgeoError as error:
        raise ProgeoError(
            f"`protocol` {protocol.name} ({protocol.description}) {failure}: {error} Perhaps it is another data set."
        ) from error


def _join(zones: tuple[int, ...] | list[int]) -> str:
    return " or ".join(map(str, zones))
