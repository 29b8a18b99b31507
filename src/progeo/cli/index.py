"""``progeo index``."""

from __future__ import annotations

from dataclasses import dataclass

from jsonargparse.typing import PositiveInt

from progeo.cli.options import REQUIRED, HeadingOptions, PlaceOptions, option


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
        "the trained model: a file, or a published one such as cosplace:ResNet50:2048. The database keeps a copy, so "
        "that only the first run needs it",
    )
    image_size: PositiveInt | None = option(
        None, "shorter side in pixels that photos are brought to; without it the model's own"
    )
    prune: bool = option(False, "remove photos from the database whose file is gone")
    rebuild: bool = option(
        False, "describe all photos anew, with --model if given; the database stays as it was until that is done"
    )
    cache_folder: str = option("cache", "where listings of image folders are kept between runs")


def run(options: IndexOptions) -> None:
    """Run ``progeo index``."""
    from progeo.places.ingest import run_index

    run_index(options)
