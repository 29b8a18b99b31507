"""``progeo town``: a place database of one's own town in one command."""

from __future__ import annotations

from dataclasses import dataclass

from progeo.cli.data_imagery import PictureOptions
from progeo.cli.options import REQUIRED, PlaceOptions, option
from progeo.cli.places import read_position
from progeo.cli.spelling import say
from progeo.errors import ProgeoError

MODEL = "fit"
"""Fitted to the photos; the weights of its backbone come with the extra ``offline``."""
WITHIN = 500.0
SHARED = ("database", "infer_batch_size", "device", "num_workers", "trust_remote_code", "cache_folder")
"""Options that are those of ``progeo index``."""


@dataclass(kw_only=True)
class TownOptions(PictureOptions, PlaceOptions):
    """Town"""

    place: str = option(REQUIRED, "LAT,LON in degrees: the middle of the town", positional=True)
    model: str | None = option(
        None, f"the model of a new database: a file, or a published one; without it {MODEL}, which needs no download"
    )
    cache_folder: str = option("cache", "where listings of image folders are kept between runs")


def run(options: TownOptions) -> None:
    """Download photos beside the database and index them; what is there already is not done again."""
    from progeo.cli import data_imagery, index
    from progeo.imagery.area import make_area
    from progeo.places.database import PlaceDatabase

    if "://" in options.database:
        raise ProgeoError(
            f"`database` {options.database}: the photos are kept beside the database, so please give a folder. "
            "progeo data imagery and progeo index fill a database in an object store."
        )
    out = f"{options.database.rstrip('/')}_photos"
    say(f"Step 1 of 2: photos of the town, into {out}")
    data_imagery.download(options, make_area(read_position(options.place), options.within or WITHIN), out)
    say(f"Step 2 of 2: the place database {options.database}")
    is_new = not PlaceDatabase.exists(options.database)
    index.run(
        index.IndexOptions(
            photos=[out],
            model=options.model or (MODEL if is_new else None),
            **{name: getattr(options, name) for name in SHARED},
        )
    )
    say(f"Ready: progeo serve --database {options.database}, or progeo locate PHOTO --database {options.database}")
