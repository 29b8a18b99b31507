"""``progeo locate``: where photos were taken."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse.typing import PositiveFloat, PositiveInt

from progeo.cli.options import REQUIRED, option
from progeo.cli.places import (
    OPENSTREETMAP,
    check_tiles,
    create_reranker,
    describe_engine,
    open_database,
    read_position,
)
from progeo.cli.spelling import say
from progeo.cli.writing import WritingOptions, check_writing, leave_out_located, write_back, write_files
from progeo.console import format_count, progress_bar
from progeo.errors import ProgeoError

if TYPE_CHECKING:
    from progeo.locating.estimate import Located
    from progeo.locating.prior import Prior
    from progeo.places.database import PlaceDatabase
    from progeo.search.explanation import Explanation
    from progeo.search.rerank import Reranker

FAILURES_SHOWN = 10


@dataclass(kw_only=True)
class LocateOptions(WritingOptions):
    """Locating"""

    photos: list[str] = option(REQUIRED, "photos, or folders of them", positional=True)
    near: str | None = option(
        None, "LAT,LON in degrees, or X,Y in metres of a local frame: look only around this place; needs --within"
    )
    within: PositiveFloat | None = option(None, "metres around --near")
    heading: float | None = option(
        None, "degrees clockwise from north in which the camera looked; matches may differ by 45 degrees"
    )
    after: str | None = option(None, "compare only with photos taken on this day or later, as 2024-05-31")
    before: str | None = option(None, "compare only with photos taken on this day or earlier, as 2024-05-31")
    exact: bool = option(False, "compare with every photo, even where there is an approximate index")
    num_matches: PositiveInt = option(3, "matches to give for each photo")
    sequence: bool = option(
        False, "the photos were taken one after the other along a path, in the order given; folders are sorted by name"
    )
    max_speed: PositiveFloat = option(
        15,
        "for --sequence: metres per second at most, and 50 metres more at each step; photos that do not say their time "
        "count as one second apart",
    )
    json: bool = option(False, "print the result as JSON, and nothing else, on stdout")
    geojson: bool = option(False, "the same as GeoJSON, which maps and geographic information systems read")
    csv: bool = option(False, "the same as CSV, one line per photo")
    map: str | None = option(None, "write a map of the result: one HTML file that opens anywhere, offline")
    tiles: str | None = option(
        None, "for --map: address of map tiles, as for progeo serve; then the map loads these, and needs the network"
    )
    tiles_attribution: str = option(OPENSTREETMAP, "for --tiles: whom the map names as their source")
    explain: str | None = option(
        None,
        "write pictures into this folder that show why: each photo beside its matches, with lines between the details "
        "that fit together. Without --rerank it takes dense or, of a model without local features, sift",
    )


def run(options: LocateOptions) -> None:
    """Estimate where photos were taken, and print the result in the form asked for.

    Photos that cannot be read are named in the error at the end; the others are located all the same.
    """
    if sum((options.json, options.geojson, options.csv)) > 1:
        raise ProgeoError("`json`, `geojson` and `csv` all go to stdout: please choose one of them.")
    if options.tiles is not None and options.map is None:
        raise ProgeoError("`tiles` are for the map: please give `map` FILE too.")
    check_tiles(options.tiles, starts=("https://", "http://"))
    if not options.photos:
        raise ProgeoError("Please give the photos: progeo locate PHOTO `database` DATABASE.")
    import numpy as np

    from progeo.data.listing import list_photos
    from progeo.locating.estimate import Located
    from progeo.locating.output.marked import refuse_local_frame
    from progeo.locating.sequence import measure_intervals, read_times
    from progeo.remote import is_remote

    paths = list_photos(options.photos)
    remote = [path for path in paths if is_remote(path)]
    check_files_only(remote, options)
    gone = [path for path in paths if not is_remote(path) and not Path(path).exists()]
    if len(gone) == len(paths):
        missing = {path: f"There is no image {path}." for path in gone}
        raise ProgeoError(join_failures(missing, len(paths)))
    if options.only_missing and not (paths := leave_out_located(paths)):
        return
    with open_database(options) as database:
        check_writing(options, database)
        if options.geojson and database.local_frame:
            raise refuse_local_frame("geojson")
        if options.tiles is not None and database.local_frame:
            raise refuse_local_frame("tiles")
        prior = make_prior(options, database.local_frame)
        database.check_ready(options.min_confidence)
        reranker = create_reranker(database, options)
        describe_engine(database)
        described, failures = database.encoder.encode_readable(paths)
        if described:
            estimates = database.locate_descriptors(
                np.stack(list(described.values())),
                queries=[partial(database.encoder.read, path) for path in described],
                intervals=measure_intervals(read_times(list(described))) if options.sequence else None,
                max_speed=options.max_speed,
                prior=prior,
                min_confidence=options.min_confidence,
                even_unknown=options.even_unknown or (options.even_uncalibrated and database.calibration is None),
                exact=options.exact,
                rerank=reranker,
            )
            results = [Located(path, estimate) for path, estimate in zip(described, estimates, strict=True)]
            explanations = explain_matches(results, database, reranker, options)
            write_results(results, explanations, database, options)
            write_files(results, options)
            write_back(results, options)
    if failures:
        raise ProgeoError(join_failures(failures, len(paths)))


def check_files_only(remote: list[str], options: LocateOptions) -> None:
    """Refuse what reads or writes more of photos than their pixels, where they lie in an object store.

    Raises:
        ProgeoError: the message says what to leave out.
    """
    wanted = [name for name in ("write", "only_missing", "sequence") if getattr(options, name)]
    if remote and wanted:
        raise ProgeoError(f"`{wanted[0]}` takes photos that are files, not {remote[0]}: copy them, or leave it out.")


def explain_matches(
    results: list[Located], database: PlaceDatabase, reranker: Reranker, options: LocateOptions
) -> list[list[Explanation]]:
    """Return which points of each photo and its first matches agree, where something shows that; else nothing."""
    from progeo.search.verifier import Verifier

    if options.explain is not None and not isinstance(reranker, Verifier):
        name = "dense" if database.encoder.has_local_features else "sift"
        reranker = database.create_reranker(name, cache_folder=options.cache_folder)
    if not isinstance(reranker, Verifier) or (options.map is None and options.explain is None):
        return [[] for _ in results]
    explanations = []
    with progress_bar() as progress:
        for result in progress.track(results, description="Comparing details"):
            paths = [match.path for match in result.estimate.matches[: options.num_matches]]
            explanations.append(reranker.explain(partial(database.encoder.read, result.path), paths))
    return explanations


def write_results(
    results: list[Located], explanations: list[list[Explanation]], database: PlaceDatabase, options: LocateOptions
) -> None:
    """Print the results on stdout in the form asked for, and write the map and the pictures."""
    if options.json:
        from progeo.locating.output.json_output import write_json

        write_json(results, options.num_matches)
    elif options.geojson:
        from progeo.locating.output.geojson import write_geojson

        write_geojson(results, options.num_matches)
    elif options.csv:
        from progeo.locating.output.csv_output import write_csv

        write_csv(results)
    else:
        from progeo.locating.output.table import write_table

        write_table(results, options.num_matches)
    if options.map is not None:
        from progeo.html.maps import Tiles
        from progeo.locating.output.map import write_map

        write_map(
            results,
            options.map,
            positions=database.positions(),
            thumbnail=database.thumbnail,
            num_matches=options.num_matches,
            explanations=explanations,
            tiles=None if options.tiles is None else Tiles(options.tiles, options.tiles_attribution),
        )
        say(f"The map is in {options.map}")
    if options.explain is not None:
        from progeo.locating.output.pairs import write_pairs

        count = write_pairs(results, explanations, options.explain, thumbnail=database.thumbnail)
        say(f"{format_count(count, 'picture')} of photos and their matches are in {options.explain}")


def make_prior(options: LocateOptions, local_frame: bool) -> Prior | None:
    """Return what the options say is known of the photos, or None.

    Raises:
        ProgeoError: a position or a date is none, or what belongs together is not given together.
    """
    from progeo.locating.prior import Prior

    prior = Prior(
        near=None
        if options.near is None
        else read_position(options.near, "; in a database of a local frame x and y in metres"),
        within=options.within,
        heading=options.heading,
        after=read_date("after", options.after),
        before=read_date("before", options.before),
        local_frame=local_frame,
    )
    return None if prior == Prior(local_frame=local_frame) else prior


def read_date(name: str, text: str | None) -> date | None:
    """Return a date out of ``YYYY-MM-DD``."""
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError as error:
        raise ProgeoError(
            f"`{name}` {text}: please give a date as year, month and day, for example 2024-05-31."
        ) from error


def join_failures(failures: dict[str, str], count: int) -> str:
    """Return one message for the photos that could not be read."""
    if count == 1:
        return next(iter(failures.values()))
    shown = list(failures.values())[:FAILURES_SHOWN]
    return "\n  ".join([f"{len(failures)} of {count} photos could not be read:", *shown])
