"""``progeo pairs``: photos that may show the same, for reconstruction with hloc, COLMAP or pycolmap."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt

from progeo.cli.locate import join_failures
from progeo.cli.options import NUM_WORKERS, REQUIRED, TrustOptions, option
from progeo.cli.spelling import say
from progeo.console import format_count
from progeo.errors import ProgeoError

if TYPE_CHECKING:
    from progeo.models.encoder import Encoder


@dataclass(kw_only=True)
class PairsOptions(TrustOptions):
    """Pairs"""

    images: str = option(REQUIRED, "folder of the images, to which the names in pairs are relative", positional=True)
    queries: str | None = option(
        None,
        "folder of photos to pair with those of IMAGES, instead of these with each other; where it lies below IMAGES "
        "its photos are no partners",
    )
    model: str = option(REQUIRED, "the model: a file, or a published one such as cosplace:ResNet50:2048")
    out: str = option("pairs.txt", "file to write: two names a line")
    top: PositiveInt = option(20, "partners for each photo")
    min_similarity: float = option(-1.0, "from -1 to 1: pairs that look less alike are left out")
    max_distance: PositiveFloat | None = option(
        None, "metres: pairs farther apart are left out where both photos say where they were taken"
    )
    sequence: NonNegativeInt = option(0, "add so many photos that were taken right after each one, by time, then name")
    descriptors: str | None = option(None, "HDF5 file for the descriptors as hloc keeps them; needs the extra hloc")
    scores: str | None = option(None, "CSV file for the similarity of each pair")
    infer_batch_size: PositiveInt = option(16, "photos per batch when encoding; photos of one size share a batch")
    device: str = option(
        "auto", "where to compute; auto takes a GPU where there is one", choices=("auto", "cpu", "cuda", "mps")
    )
    num_workers: NonNegativeInt | None = option(None, NUM_WORKERS)


def run(options: PairsOptions) -> None:
    """Write the pairs, and what else is asked for."""
    from progeo.errors import require
    from progeo.models.encoder import Encoder
    from progeo.places.keeping import load_model
    from progeo.search.pairs import (
        check_names,
        find_pairs,
        find_query_pairs,
        write_descriptors,
        write_pairs,
        write_scores,
    )

    if options.descriptors is not None:
        require("h5py", "Writing descriptors for hloc")
    if options.queries is not None and options.sequence:
        raise ProgeoError("`sequence` is about photos of one folder: please leave out `queries` or `sequence`.")
    queries = {} if options.queries is None else list_names(options.queries, options.images)
    images = {name: path for name, path in list_names(options.images).items() if name not in queries}
    check_names([*images, *queries])
    if not images:
        raise ProgeoError(f"All photos of {options.images} are queries: there is nothing to pair them with.")
    model = load_model(options.model, trust_remote_code=options.trust_remote_code, device=options.device)
    encoder = Encoder.create(
        model,
        device=options.device,
        batch_size=options.infer_batch_size,
        num_workers=options.num_workers,
        show_progress=True,
    )
    names, found, failures = encode(images, encoder)
    asked, found_queries, failed_queries = encode(queries, encoder)
    if not names or (queries and not asked):
        raise ProgeoError(join_failures(failures | failed_queries, len(images) + len(queries)))
    limits: dict[str, Any] = {"top": options.top, "min_similarity": options.min_similarity}
    limits |= {"max_distance": options.max_distance, "points": place(names, images, options)}
    if queries:
        points = place(asked, queries, options)
        pairs = find_query_pairs(names, found, asked, found_queries, query_points=points, **limits)
    else:
        order = sort_by_time(names, images) if options.sequence else None
        pairs = find_pairs(names, found, order=order, neighbours=options.sequence, **limits)
    write_pairs(pairs, options.out)
    count = format_count(len(names) + len(asked), "photo")
    say(f"{options.out}: {format_count(len(pairs), 'pair')} of {count}")
    if options.scores is not None:
        write_scores(pairs, options.scores)
    if options.descriptors is not None:
        import numpy as np

        every = np.concatenate([found, found_queries]) if asked else found
        write_descriptors([*names, *asked], every, options.descriptors)
    if failures | failed_queries:
        raise ProgeoError(join_failures(failures | failed_queries, len(images) + len(queries)))


def list_names(folder: str, root: str | None = None) -> dict[str, str]:
    """Return the photos below a folder, by their names relative to ``root``, or to the folder if they lie elsewhere."""
    from progeo.data.listing import list_photos

    if not Path(folder).is_dir():
        raise ProgeoError(f"There is no folder {folder}: please give the folder of the images.")
    base = Path(folder).resolve()
    if root is not None and base.is_relative_to(Path(root).resolve()):
        base = Path(root).resolve()
    return {Path(path).resolve().relative_to(base).as_posix(): path for path in list_photos([folder])}


def encode(photos: dict[str, str], encoder: Encoder) -> tuple[list[str], Any, dict[str, str]]:
    """Return the names of the photos that can be read, their descriptors (N, D), and why others cannot, by path."""
    import numpy as np

    if not photos:
        return [], None, {}
    described, failures = encoder.encode_readable(list(photos.values()), description="Encoding")
    names = [name for name, path in photos.items() if path in described]
    return names, np.stack([described[photos[name]] for name in names]) if names else None, failures


def place(names: list[str], photos: dict[str, str], options: PairsOptions) -> Any:
    """Return where photos were taken, (N, 3) in metres, NaN where that is not known; None where it does not matter."""
    if options.max_distance is None:
        return None
    import numpy as np

    from progeo.data.positions import take_located
    from progeo.data.sphere import to_points
    from progeo.places.photos import read_photo_set

    table = take_located(read_photo_set([photos[name] for name in names]).table, {})
    known = {
        path: (latitude, longitude)
        for path, latitude, longitude in table.select("path", "latitude", "longitude").iter_rows()
    }
    degrees = np.array([known.get(photos[name], (np.nan, np.nan)) for name in names])
    return to_points(degrees[:, 0], degrees[:, 1])


def sort_by_time(names: list[str], photos: dict[str, str]) -> list[int]:
    """Return the rows in the order in which photos were taken; those without a time go by their names."""
    from progeo.locating.sequence import read_times

    times = read_times([photos[name] for name in names])
    return sorted(range(len(names)), key=lambda row: (str(times[row] or ""), names[row]))
