"""Re-ranking in an evaluation: what it needs to know, it learns from the set's own database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from progeo.console import logger, progress_bar
from progeo.evaluation.recall import Evaluation
from progeo.models.encoder import Encoder
from progeo.search.evidence import FEWEST_PAIRS, LOOKED_THROUGH, choose_sample, find_wrong_pairs
from progeo.search.exact import Floats, Integers, search_chunks
from progeo.search.explanation import Explanation
from progeo.search.keypoint_cache import KeypointCache
from progeo.search.methods import create_methods
from progeo.search.photo_files import PhotoFiles
from progeo.search.rerank import Query, Reranker, no_rerank
from progeo.search.verifier import Verifier

PREDICTIONS_SHOWN = 4
"""Of a mistake in the report."""
FAR = 2.0
"""From this multiple of the distance within which photos are right, they are surely of another place."""


def create_reranker(name: str, encoder: Encoder, candidates: int, cache_folder: str | Path | None) -> Reranker:
    """Return a reranker by its name.

    Args:
        name: of ``progeo.search.methods.RERANKERS``.
        encoder: reads the photos of the database.
        candidates: how many predictions are compared.
        cache_folder: where keypoints are kept; None keeps some in memory.

    Raises:
        ProgeoError: as of ``create_methods``.
    """
    methods = create_methods(name, encoder)
    if not methods:
        return no_rerank
    return Verifier(methods, PhotoFiles(encoder.read, KeypointCache(cache_folder)), candidates=candidates)


def learn_from_database(
    verifier: Verifier,
    read_chunks: Callable[[], Iterable[Floats]],
    paths: Sequence[str],
    positions: Floats,
    limit: float,
    *,
    description: str | None = None,
) -> None:
    """Let a verifier compare photos of the database that look alike and lie far apart.

    Args:
        verifier: learns.
        read_chunks: gives the descriptors of the database, in chunks (n, D); called twice.
        paths: of its N photos.
        positions: (N, d) in the unit of ``limit``.
        limit: distance within which photos show the same place.
        description: of the progress bar; without it none is shown.
    """
    sample = choose_sample(len(paths))
    descriptors = _take_rows(read_chunks(), sample)
    _, found = search_chunks(read_chunks(), descriptors, min(LOOKED_THROUGH, len(paths)))

    def is_far(row: int, others: Integers) -> NDArray[np.bool_]:
        far: NDArray[np.bool_] = np.linalg.norm(positions[others] - positions[row], axis=1) > FAR * limit
        return far

    pairs = find_wrong_pairs(sample, found, is_far)
    with progress_bar(disable=description is None) as progress:
        task = progress.add_task(f"{description}, photos far apart", total=len(pairs))
        verifier.learn([(paths[row], paths[other]) for row, other in pairs], lambda: progress.advance(task))
    for name, yardstick in verifier.yardsticks.items():
        if yardstick is None:
            logger.warning(
                f"The database has fewer than {FEWEST_PAIRS} pairs of photos that look alike and lie far apart, so how "
                f"many points agree by chance ({name}) is not known, and the descriptors alone decide"
            )
        else:
            logger.info(
                f"Re-ranking by {name}: of {yardstick.pairs} pairs of photos that lie far apart 99.5 % agree in fewer "
                f"than {yardstick.floor:.0f} points"
            )


def explain_mistakes(
    evaluation: Evaluation,
    verifier: Verifier,
    queries: Sequence[Query],
    paths: Sequence[str],
    count: int,
    *,
    description: str | None = None,
) -> dict[tuple[int, int], Explanation]:
    """Return which points of the worst mistakes agree with their predictions, and with the photos that are right.

    Args:
        evaluation: whose mistakes.
        verifier: compares photos.
        queries: Q functions that give the pixels of a query.
        paths: N, of the photos of the database.
        count: of mistakes.
        description: of the progress bar; without it none is shown.
    """
    found: dict[tuple[int, int], Explanation] = {}
    with progress_bar(disable=description is None) as progress:
        for query in progress.track(evaluation.mistakes[:count].tolist(), description=description or ""):
            predictions, right = evaluation.predictions[query], evaluation.right[query]
            rows = [*predictions[:PREDICTIONS_SHOWN], *predictions[right][:1], evaluation.nearest_images[query]]
            rows = list(dict.fromkeys(int(row) for row in rows))
            explanations = verifier.explain(queries[query], [paths[row] for row in rows])
            found |= {(query, row): explanation for row, explanation in zip(rows, explanations, strict=True)}
    return found


def _take_rows(chunks: Iterable[Floats], rows: Integers) -> Floats:
    """Return some rows, rising, of descriptors that come in chunks."""
    taken, start = [], 0
    for chunk in chunks:
        here = rows[(rows >= start) & (rows < start + len(chunk))] - start
        taken.append(chunk[here].astype(np.float32))
        start += len(chunk)
    return np.concatenate(taken)
