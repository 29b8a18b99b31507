"""``progeo index``: photos with known positions into a place database."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse.typing import NonNegativeInt, PositiveInt

from progeo.cli import shards
from progeo.cli.fit import describe_fit, fit_kept
from progeo.cli.options import REQUIRED, TIMINGS, HeadingOptions, PlaceOptions, engine_settings, format_timings, option
from progeo.cli.places import database_settings, describe_engine, describe_reading
from progeo.cli.spelling import say
from progeo.console import format_count
from progeo.errors import ProgeoError

if TYPE_CHECKING:
    from progeo.models.engines.graphs import ExportedModel
    from progeo.models.network import PlaceNetwork
    from progeo.places.database import PlaceDatabase
    from progeo.places.photos import PhotoSet


LARGE = 100_000
"""Photos of a database that is not calibrated again after every addition."""


@dataclass(kw_only=True)
class IndexOptions(HeadingOptions, PlaceOptions):
    """Indexing"""

    photos: list[str] = option(
        REQUIRED,
        "folders of photos with positions, or manifests; may be left out with --prune or --rebuild",
        positional=True,
    )
    model: str | None = option(
        None,
        "the model: a file, or a published one such as cosplace:ResNet50:2048; fit, or fit:BACKBONE, fits one to these "
        "photos. The database keeps a copy, so that only the first run needs it",
    )
    image_size: PositiveInt | None = option(
        None, "shorter side in pixels that photos are brought to; without it the model's own"
    )
    local_frame: bool = option(
        False,
        "positions are metres in a frame of their own, as of a floor plan or a robot's map: columns x and y of a "
        "manifest, or UTM columns without a zone. A database keeps its frame, so that only the first run needs it",
    )
    prune: bool = option(
        False,
        "remove photos from the database whose file is gone; whole folders only where they lie below a folder that is "
        "indexed at the same time",
    )
    rebuild: bool = option(
        False, "encode all photos again, with --model if given; the database stays as it was until that is done"
    )
    refit: bool = option(
        False, "with --rebuild and --model fit: fit the model anew, to the photos of the database and those given"
    )
    seed: NonNegativeInt = option(0, "what is random in a fit follows from it")
    local_features: PositiveInt | None = option(
        None,
        "keep at most so many local features of each photo in the database, so that --rerank need not read it again; "
        "280 of dense take about 65 kB a photo",
    )
    shards: PositiveInt | None = option(
        None,
        "index in so many parts: on as many machines, each with the same photos, --database and --model and a --shard "
        "of its own, or by a --cluster",
    )
    shard: NonNegativeInt | None = option(
        None, "with --shards: which part of the photos this machine takes, from 0; nothing is committed"
    )
    commit: bool = option(
        False, "commit the shards that are finished, then calibrate; those that are in the database stay as they are"
    )
    cluster: str | None = option(
        None,
        "with --shards: have the workers of a Ray cluster write the shards, then commit them; one a GPU, or else one a "
        "processor core",
        choices=("ray",),
    )
    ray_address: str | None = option(
        None, "with --cluster: address of the cluster, or auto; without it this machine is one"
    )
    cache_folder: str = option("cache", "where listings of image folders are kept between runs")
    timings: bool = option(False, TIMINGS)


def run(options: IndexOptions) -> None:
    """Add what is new or has changed, and say what was done."""
    start = time.perf_counter()
    shards.check(options)
    if options.commit:
        from progeo.places.database import PlaceDatabase

        with PlaceDatabase.open(options.database, **database_settings(options)) as database:
            settle(database, options.cache_folder, changed=shards.commit(database, options))
        return
    if not (options.photos or ((options.prune or options.rebuild) and options.shards is None)):
        raise ProgeoError("Please give the photos: progeo index PHOTOS `database` DATABASE.")
    if options.image_size is not None and options.model is None:
        raise ProgeoError("`image_size` belongs to `model`: the database keeps both. Please give `model` too.")
    from progeo.models.recipes import parse_recipe
    from progeo.places.database import PlaceDatabase
    from progeo.places.encode import AddReport
    from progeo.places.keeping import refuse_frame, refuse_model
    from progeo.places.photos import format_failures

    if options.model is None and not PlaceDatabase.exists(options.database):
        raise ProgeoError(f"There is no place database in {options.database} yet. Give `model` too, to make one.")
    if options.refit and not (options.rebuild and parse_recipe(options.model)):
        raise ProgeoError("`refit` fits the model of a database anew: please give `rebuild` and `model` fit too.")
    settings = database_settings(options)
    exists = PlaceDatabase.exists(options.database)
    local_frame = PlaceDatabase.open(options.database, **settings).local_frame if exists else options.local_frame
    if exists and options.local_frame and not local_frame:
        raise refuse_frame(options.database)
    photos = read_all(options, local_frame)
    network = fit_once(options, photos) if parse_recipe(options.model) else load_resized(options)
    rebuild = options.rebuild and PlaceDatabase.exists(options.database)
    if network is None or rebuild:
        database = PlaceDatabase.open(options.database, **settings)
    else:
        database = PlaceDatabase.create(options.database, network, exist_ok=True, local_frame=local_frame, **settings)
        if not database.is_of(network):
            raise refuse_model(options.database, str(options.model))
    if options.shards is not None:
        assert photos is not None
        describe_reading(database)
        if options.cluster is not None:
            changed = shards.index_on_cluster(database, photos, options)
            settle(database, options.cache_folder, changed=changed)
            return
        describe_engine(database)
        shards.index(database, photos, options)
        return
    try:
        if rebuild:
            report = database.rebuild(network, photos)
        elif photos is None:
            report = AddReport()
        else:
            describe_reading(database)
            describe_engine(database)
            report = database.add(photos)
    except KeyboardInterrupt:
        kept = "The database is as it was" if rebuild else f"The database holds {format_count(len(database), 'photo')}"
        say(f"{kept}; what was encoded is kept, and the same command goes on from there")
        raise
    if report.failed and len(database) == 0:
        raise ProgeoError(
            f"None of {format_count(len(report.failed), 'photo')} could be added, {format_failures(report.failed)}"
        )
    gone, refusal = prune(database, options.photos) if options.prune else (0, None)
    done = f"{format_count(report.added, 'photo')} added, {report.kept:,} kept, {len(report.failed):,} failed"
    if options.prune and not refusal:
        done += f", {gone:,} removed as their file is gone"
    say(f"{options.database}: {done}; it holds {len(database):,} now")
    if options.local_features:
        photos_kept, size = database.keep_local_features(options.local_features)
        say(f"Local features of {format_count(photos_kept, 'photo')} added, {size:,} bytes")
    if report.failed:
        say(f"Failed: {format_failures(report.failed)}", vars(options), style="yellow")
    settle(database, options.cache_folder, changed=bool(report.added or gone or rebuild))
    if options.timings:
        say(format_timings(database.encoder.timings, time.perf_counter() - start))
    if refusal:
        raise refusal


def settle(database: PlaceDatabase, cache_folder: str, *, changed: bool) -> None:
    """Bring index, calibration and re-ranking up to date; an earlier run may have been stopped before that."""
    if (changed or database.lacks_index) and (remark := database.refresh_index()):
        say(remark)
    calibrate(database, changed=changed)
    if len(database):
        # What re-ranking must know of the database is learned now, so that the first photo need not wait for it.
        database.create_reranker("auto", cache_folder=cache_folder)


def calibrate(database: PlaceDatabase, *, changed: bool) -> None:
    """Let the database learn how sure its estimates are, where its photos have changed, and say what it has learned.

    What it has learned from photos of known position is kept. A large database learns again once it has grown by a
    tenth, as that looks at every photo.
    """
    count, before = len(database), database.calibration
    if count == 0 or (before is not None and count >= LARGE and abs(count - before.photos) <= before.photos / 10):
        return
    if before is not None and before.source == "queries":
        if changed:
            say("The calibration from photos of known position is kept; progeo calibrate learns it anew.")
        return
    if before is None or changed or before.photos != count:
        for sentence in database.calibrate().notes:
            say(f"Calibration: {sentence}")


def read_all(options: IndexOptions, local_frame: bool) -> PhotoSet | None:
    """Read the photos of all sources, if any are given, and say what is left out of them."""
    from progeo.places.photos import join_sets, read_photo_set

    sets = []
    for source in options.photos:
        found = read_photo_set(
            source,
            cache_folder=options.cache_folder,
            columns=options.columns,
            heading_from=options.heading_from,
            local_frame=local_frame,
        )
        for remark in found.remarks:
            say(remark)
        sets.append(found)
    return join_sets(sets) if sets else None


def load_resized(options: IndexOptions) -> PlaceNetwork | ExportedModel | None:
    """Load the model if one is given, to be used at another image size if one is given too."""
    from progeo.places.keeping import load_model

    if options.model is None:
        return None
    loading: dict[str, Any] = {"trust_remote_code": options.trust_remote_code, "device": options.device}
    if options.image_size is None:
        return load_model(options.model, **loading, engine=engine_settings(options)["engine"])
    from progeo.models.published import load_network  # which loads PyTorch; a graph needs none

    network = load_network(options.model, **loading)
    network.set_image_size(options.image_size)
    return network


def fit_once(options: IndexOptions, photos: PhotoSet | None) -> PlaceNetwork | None:
    """Fit the model of a new database to its photos; None where the database keeps what was fitted before.

    Raises:
        ProgeoError: the database is of another model than the recipe's, or there are no photos to fit to.
    """
    from progeo.models.recipes import parse_recipe
    from progeo.places.database import PlaceDatabase
    from progeo.places.keeping import refuse_model

    paths = [] if photos is None else photos.table["path"].to_list()
    if PlaceDatabase.exists(options.database):
        database = PlaceDatabase.open(options.database, **database_settings(options))
        spec = database.spec
        is_fitted = "fitted" in spec.provenance and spec.backbone == parse_recipe(options.model)
        is_same_size = options.image_size in (None, spec.preprocessing.image_size)
        if not options.refit:
            if not (is_fitted and is_same_size):
                raise refuse_model(options.database, str(options.model))
            say("The database keeps the model that was fitted before; `rebuild` `refit` fits it anew", vars(options))
            return None
        paths = sorted({*paths, *database.list_paths()})
    if not paths:
        raise ProgeoError("There is nothing to fit the model to. Please give the photos: progeo index PHOTOS.")
    network = fit_kept(paths, str(options.model), options, seed=options.seed)
    say(f"Fitted: {describe_fit(network)}")
    return network


def prune(database: PlaceDatabase, sources: list[str]) -> tuple[int, ProgeoError | None]:
    """Remove photos whose file is gone; return how many, and why not. What has just been read counts as complete."""
    from progeo.remote import is_remote

    try:
        files = [Path(source) for source in sources if not is_remote(source)]
        return database.prune(source if source.is_dir() else source.parent for source in files), None
    except ProgeoError as error:
        return 0, error
