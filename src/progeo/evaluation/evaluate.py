"""Evaluating a model on a test set: encode, search, rerank, measure."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from progeo.console import format_count, logger, progress_bar
from progeo.errors import ProgeoError
from progeo.evaluation.dimensions import choose_dimensions, measure_dimensions
from progeo.evaluation.evaluation_set import EvaluationSet, read_evaluation_set
from progeo.evaluation.memory import MemoryWatch, count_weights
from progeo.evaluation.positives import PUBLISHED_RULE, read_coordinates
from progeo.evaluation.protocols import Protocol, find_protocol, find_rule
from progeo.evaluation.recall import RECALL_RANKS, Evaluation, measure_recalls
from progeo.evaluation.reranking import Reranking
from progeo.evaluation.shapes import leave_out_extreme
from progeo.evaluation.verifying import create_reranker, explain_mistakes, learn_from_database
from progeo.models.encoder import Encoder
from progeo.models.engines.choose import load_runnable
from progeo.models.engines.graphs import ExportedModel
from progeo.pixels.recipe import Preprocessing
from progeo.search.exact import Floats, search_chunks
from progeo.search.explanation import Explanation
from progeo.search.methods import AUTO, NONE, name_methods
from progeo.search.rerank import Reranker, no_rerank, rerank_all
from progeo.search.store import DescriptorFolder
from progeo.search.verifier import CANDIDATES, Verifier

if TYPE_CHECKING:
    from progeo.models.network import PlaceNetwork

PROGEO_BACKBONES = "CLIP-"
"""How the names of backbones begin whose models ProGEO's code evaluates."""


def evaluate(
    model: Encoder | PlaceNetwork | ExportedModel | str | Path,
    evaluation_set: EvaluationSet | str | Path,
    *,
    protocol: str | Protocol | None = None,
    image_size: int | None = None,
    native: bool | None = None,
    positive_dist_threshold: float = PUBLISHED_RULE.limit,
    k: int = max(RECALL_RANKS),
    rerank: Reranker | str = AUTO,
    candidates: int = CANDIDATES,
    device: str | None = None,
    engine: str | None = None,
    batch_size: int = 16,
    num_workers: int | None = None,
    description: str | None = None,
    descriptors_folder: str | Path | None = None,
    cache_folder: str | Path | None = None,
    explain: int = 0,
    trust_remote_code: bool = False,
) -> Evaluation:
    """Measure how well a model finds the places of queries.

    Args:
        model: a network, a graph, what runs one, or the name or path of one (see ``load_model``).
        evaluation_set: a folder with ``database`` and ``queries``, a manifest, or what ``read_evaluation_set`` gives.
            Of a folder or a manifest, photos of extreme shape are left out (see ``leave_out_extreme``).
        protocol: the rules of one of the field's test sets, such as ``msls-val``: which queries, what is right, at
            which size. What ``read_evaluation_set`` gives has its protocol already.
        image_size: pixels of the shorter side; without it the model's own.
        native: photos keep their size; without it they do where the protocol has it so, and else take the model's.
        positive_dist_threshold: metres within which a prediction is right, where no protocol says what is.
        k: predictions per query.
        rerank: orders the k predictions of each query anew: ``dense``, ``sift``, ``lightglue``, ``both`` or ``none``,
            or a reranker of one's own. What a named one needs to know, it learns from the database of the set. ``auto``
            is ``none`` under a protocol, and where the model or a library is missing for it, which is said.
        candidates: how many predictions a named reranker compares.
        device: ``cpu``, ``cuda``, ``mps`` or ``auto``; without it a network stays where it is, and what is loaded by
            its name takes a GPU where there is one. An encoder has its own.
        engine: what runs the model (see ``Encoder.create``); an encoder has its own.
        batch_size: photos per forward pass; an encoder has its own.
        num_workers: reading threads; 0 reads in the calling thread, None takes one per core, at most eight.
        description: what the progress bars speak of; without it none are shown.
        descriptors_folder: where the descriptors of this model for this set are kept, in half precision, so that the
            database need not fit into memory and a stopped evaluation goes on.
        cache_folder: where a named reranker keeps the keypoints of photos; None keeps some in memory.
        explain: of so many of the worst mistakes, find the points that agree, for the report: by ``rerank``, else by
            SIFT where OpenCV is there.
        trust_remote_code: let a model of torch.hub run its own code.

    Raises:
        ProgeoError: the set cannot be read, is not the protocol's, or a photo cannot be read; or the model cannot be
            loaded, or does not take that size.

    Example:
        >>> evaluate("cosplace:ResNet18:512", "my_city/test").recalls  # doctest: +SKIP
        {1: 71.2, 5: 83.0, 10: 86.4, 20: 90.1}
    """
    is_read_here = not isinstance(evaluation_set, EvaluationSet)
    if not isinstance(evaluation_set, EvaluationSet):
        rules = find_protocol(protocol) if isinstance(protocol, str) else protocol
        evaluation_set = read_evaluation_set(evaluation_set, protocol=rules)
    elif protocol is not None:
        raise ProgeoError("`protocol` is part of an evaluation set: give it to `read_evaluation_set`.")
    rule = find_rule(evaluation_set.protocol, positive_dist_threshold)
    if isinstance(model, str | Path):
        model = load_runnable(model, engine=engine, device=device or "auto", trust_remote_code=trust_remote_code)
    if not isinstance(model, Encoder):
        if not isinstance(model, ExportedModel):
            device = device or str(next(iter(model.parameters())).device)
            model.eval()
        model = Encoder.create(
            model, device=device or "cpu", engine=engine, batch_size=batch_size, num_workers=num_workers
        )
    read_database, read_queries = choose_preprocessing(
        model.preprocessing, evaluation_set.protocol, image_size=image_size, native=native
    )
    if is_read_here:  # the caller does not count its photos
        evaluation_set, remarks = leave_out_extreme(
            evaluation_set, [read_database], [read_queries], num_workers=num_workers
        )
        for remark in remarks:
            logger.warning(remark)
    database, queries = evaluation_set.database, evaluation_set.queries
    positions = read_coordinates(rule, database, queries)
    database_encoder = with_preprocessing(model, read_database)
    if isinstance(rerank, str):
        if rerank == AUTO and evaluation_set.protocol is not None:
            rerank = NONE
        rerank = create_reranker(rerank, database_encoder, candidates, cache_folder)
    folder = None
    if descriptors_folder is not None:
        depends_on = f"{model.fingerprint} {read_database} {read_queries}"
        folder = DescriptorFolder(Path(descriptors_folder), depends_on, model.descriptor_dim)
    encoding = Encoding(model, description, folder)
    query_paths, database_paths = queries["path"].to_list(), database["path"].to_list()
    query_descriptors = np.concatenate(list(encoding.encode("queries", query_paths, read_queries)))

    def read_chunks() -> Iterable[Floats]:
        return encoding.encode("database", database_paths, read_database)

    dimensions = choose_dimensions(model.spec)
    chunks = read_chunks()
    if folder is None and (dimensions or rerank is not no_rerank):
        chunks = list(chunks)  # one, in memory anyway

    def read_again() -> Iterable[Floats]:
        return read_chunks() if folder else chunks

    distances, predictions = search_chunks(chunks, query_descriptors, k)
    if folder and (folder.reused or folder.replaced):
        logger.info(
            f"Chunks taken from {folder.folder}: {folder.reused}; stale or damaged ones made anew: {folder.replaced}"
        )
    if isinstance(rerank, Verifier):
        learn_from_database(
            rerank,
            read_again,
            database_paths,
            positions[0],
            rule.limit,
            description=description,
        )
    before = None if rerank is no_rerank else predictions
    query_pixels = [partial(with_preprocessing(model, read_queries).read, path) for path in query_paths]
    with progress_bar(disable=description is None or rerank is no_rerank) as progress:
        task = progress.add_task("Re-ranking", total=len(query_paths))
        distances, predictions = rerank_all(
            rerank,
            query_pixels,
            database_paths,
            distances,
            predictions,
            num_workers=model.num_workers if isinstance(rerank, Verifier) else 0,
            advance=lambda: progress.advance(task),
        )
    if isinstance(rerank, Verifier) and rerank.skipped:
        logger.warning(
            f"{format_count(len(rerank.skipped), 'photo')} of the database could not be compared and kept the place by "
            f"descriptor, first {min(rerank.skipped)}"
        )
    ranked_by = NONE if rerank is no_rerank else name_methods(rerank.methods) if isinstance(rerank, Verifier) else "own"
    evaluation = measure_recalls(predictions, *positions, rule, distances)
    explanations: dict[tuple[int, int], Explanation] = {}
    if explain and rerank is no_rerank and find_spec("cv2"):
        rerank = create_reranker("sift", database_encoder, candidates, cache_folder)
    if explain and isinstance(rerank, Verifier):
        bar = description and "Comparing mistakes"
        explanations = explain_mistakes(evaluation, rerank, query_pixels, database_paths, explain, description=bar)
    return dataclasses.replace(
        evaluation,
        recalls_by_dimension=measure_dimensions(dimensions, read_again, query_descriptors, positions, rule),
        reranking=Reranking(before, explanations),
        descriptors_per_second=encoding.descriptors_per_second,
        encoding_memory_bytes=encoding.memory,
        rerank=ranked_by,
    )


def choose_preprocessing(
    preprocessing: Preprocessing,
    protocol: Protocol | None = None,
    *,
    image_size: int | None = None,
    native: bool | None = None,
    name: str = "The model",
) -> tuple[Preprocessing, Preprocessing]:
    """Return how the photos of the database and those of the queries are read: see ``evaluate``.

    Raises:
        ProgeoError: a model that takes squares of one size is asked to take another.
    """
    if preprocessing.square:
        if image_size or native:
            raise ProgeoError(
                f"{name} takes photos of {preprocessing.describe()} only. Leave out `image_size` and `native`."
            )
        return preprocessing, preprocessing
    if native is None:
        native = preprocessing.native or (protocol is not None and not image_size)
    read = dataclasses.replace(preprocessing, image_size=image_size or preprocessing.image_size, native=native)
    limit = protocol.queries_shorter_side if protocol and native else None
    return read, dataclasses.replace(read, native_limit=limit or read.native_limit)


def resize_as_published(preprocessing: Preprocessing, backbone: str, image_size: int | None = None) -> Preprocessing:
    """Return how the published code resizes test photos for a backbone: ProGEO's squeezes them to squares.

    That of CosPlace, which all other backbones follow, keeps the aspect ratio, as the model does anyway.
    """
    if preprocessing.square or not backbone.startswith(PROGEO_BACKBONES):
        return preprocessing
    size = image_size or preprocessing.image_size
    return dataclasses.replace(preprocessing, image_size=size, square=True, native=False, native_limit=None)


def with_preprocessing(encoder: Encoder, preprocessing: Preprocessing) -> Encoder:
    """Return an encoder that reads photos otherwise, with the same engine."""
    other = copy.copy(encoder)
    other.preprocessing = preprocessing
    return other


@dataclass
class Encoding:
    """A model that goes through a test set, in memory or chunk by chunk through a folder of descriptors.

    Attributes:
        description: what the progress bars speak of; without it none are shown.
        folder: where descriptors are kept and taken from; without it they are in memory, in one chunk.
        photos: photos encoded so far; those taken from ``folder`` do not count.
        seconds: the time that took, reading them included.
        memory: bytes that it took at its peak: on a GPU of CUDA what PyTorch held there, elsewhere the weights and what
            the process took beside them (photos, intermediate results, descriptors). None before the first photo, and
            where nobody tells.
    """

    encoder: Encoder
    description: str | None = None
    folder: DescriptorFolder | None = None
    photos: int = 0
    seconds: float = 0.0
    memory: int | None = None

    @property
    def descriptors_per_second(self) -> float | None:
        """Photos encoded per second; None before the first."""
        return self.photos / self.seconds if self.photos else None

    def _keep_peak(self, watch: MemoryWatch) -> None:
        if watch.peak is not None:
            weights = 0 if watch.device.startswith("cuda") else self._weights
            self.memory = max(self.memory or 0, weights + watch.peak)

    @cached_property
    def _weights(self) -> int:
        return count_weights(self.encoder.model)

    def encode(
        self, part: str, paths: Sequence[str], preprocessing: Preprocessing
    ) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the descriptors of photos in order, in chunks (n, D); ``part`` is ``database`` or ``queries``."""
        encoder = with_preprocessing(self.encoder, preprocessing)
        with progress_bar(disable=self.description is None) as progress:
            task = progress.add_task(f"{self.description}, {part}", total=len(paths))

            def encode_some(some: Sequence[str]) -> npt.NDArray[np.float32]:
                start = time.perf_counter()
                with MemoryWatch(encoder.device) as watch:
                    found = encoder.encode(some, advance=lambda photos: progress.advance(task, photos))
                self.photos += len(some)
                self.seconds += time.perf_counter() - start
                self._keep_peak(watch)
                return found

            if self.folder is None:
                yield encode_some(paths)
                return
            done = 0
            for chunk in self.folder.read_chunks(part, paths, encode_some):
                done += len(chunk)
                progress.update(task, completed=done)
                yield chunk
