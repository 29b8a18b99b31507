"""Indexing in shards: what ``progeo index`` does with ``--shards``, ``--cluster`` and ``--commit``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from progeo.cli.spelling import say
from progeo.console import format_count
from progeo.errors import ProgeoError

if TYPE_CHECKING:
    from progeo.cli.index import IndexOptions
    from progeo.places.database import PlaceDatabase
    from progeo.places.photos import PhotoSet
    from progeo.places.shards import CommitReport


def check(options: IndexOptions) -> None:
    """Refuse what does not go together.

    Raises:
        ProgeoError: says what to give instead.
    """
    from progeo.models.recipes import parse_recipe
    from progeo.places.shards import check_number

    if options.commit and (options.photos or options.shards is not None or options.shard is not None):
        raise ProgeoError(
            "`commit` takes no photos and no `shard`: every shard is indexed first, then all are committed."
        )
    if options.ray_address is not None and options.cluster is None:
        raise ProgeoError("`ray_address` is that of a `cluster`: please give `cluster` ray too.")
    if options.cluster is not None and (options.shards is None or options.shard is not None):
        raise ProgeoError("A `cluster` takes all shards: please give `shards` N, and no `shard`.")
    if options.cluster is None and (options.shards is None) != (options.shard is None):
        raise ProgeoError("`shards` N and `shard` I belong together: please give both, I from 0 to N - 1.")
    if options.shards is None:
        return
    if options.shard is not None:
        check_number(options.shard, options.shards)
    if parse_recipe(options.model):
        raise ProgeoError(
            f"`model` {options.model}: every shard would fit a model of its own. Fit one first (progeo fit PHOTOS "
            "`model_out` MODEL), and give it to all shards."
        )
    for name in ("prune", "rebuild", "local_features"):
        if getattr(options, name):
            raise ProgeoError(f"`{name}` does not go with `shards`; give it to progeo index after `commit`.")


def index(database: PlaceDatabase, photos: PhotoSet, options: IndexOptions) -> None:
    """Write the shard's files, and say what is in them."""
    from progeo.places.photos import format_failures

    assert options.shard is not None and options.shards is not None
    report = database.index_shard(photos, options.shard, options.shards)
    say(
        f"{options.database}: shard {options.shard} of {options.shards} is written: "
        f"{format_count(report.added, 'photo')} added, {report.kept:,} kept, {len(report.failed):,} failed. When all "
        f"shards are: progeo index --commit --database {options.database}"
    )
    if report.failed:
        say(f"Failed: {format_failures(report.failed)}", style="yellow")


def index_on_cluster(database: PlaceDatabase, photos: PhotoSet, options: IndexOptions) -> bool:
    """Index on a cluster, and say what was done; return whether anything was committed."""
    from progeo.places.photos import format_failures

    assert options.shards is not None
    report, committed = database.index_on_cluster(photos, options.shards, options.ray_address)
    describe(committed, database, options)
    say(f"{format_count(report.added, 'photo')} added, {report.kept:,} kept, {len(report.failed):,} failed")
    if report.failed:
        say(f"Failed: {format_failures(report.failed)}", style="yellow")
    return bool(committed.committed)


def commit(database: PlaceDatabase, options: IndexOptions) -> bool:
    """Commit the shards that are finished, and say which are not; return whether there were any."""
    report = database.commit_shards()
    describe(report, database, options)
    return bool(report.committed)


def describe(report: CommitReport, database: PlaceDatabase, options: IndexOptions) -> None:
    """Say which shards were committed, and which are not finished."""
    for shard in report.committed:
        say(f"Shard {shard.shard} of {shard.shards}: {format_count(shard.rows, 'photo')} committed")
    before = f", {format_count(report.before, 'shard')} before" if report.before else ""
    say(
        f"{options.database}: {format_count(len(report.committed), 'shard')} committed{before}; it holds "
        f"{len(database):,} photos now"
    )
    if report.unfinished:
        say(f"Not finished yet: shard {', '.join(report.unfinished)}", style="yellow")
