"""From photos to descriptors: read by the one recipe, batched by size, run by an engine. Without torch."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from progeo.errors import ProgeoError
from progeo.models.spec import ModelSpec
from progeo.pixels.prefetch import read_ahead
from progeo.pixels.recipe import Preprocessing, open_photo, read_pixels, to_pixels

if TYPE_CHECKING:
    from PIL import Image

    from progeo.models.engines.graphs import ExportedModel
    from progeo.models.network import PlaceNetwork
    from progeo.pixels.recipe import Source

Descriptors = NDArray[np.float32]
LocalFeatures = NDArray[np.float16]
Pixels = NDArray[np.uint8]
Item = TypeVar("Item")
Key = TypeVar("Key")
Result = TypeVar("Result")


class Engine(Protocol):
    """What runs a model."""

    @property
    def device(self) -> object:
        """Where it computes."""

    @property
    def name(self) -> str:
        """What computes, in words."""

    def describe(self, pixels: Pixels, preprocessing: Preprocessing) -> Descriptors:
        """Return the descriptors, float32 (B, D), of pixels (B, H, W, 3)."""


@runtime_checkable
class LocalEngine(Engine, Protocol):
    """What runs a model and gives its local features too."""

    def describe_with_local(self, pixels: Pixels, preprocessing: Preprocessing) -> tuple[Descriptors, LocalFeatures]:
        """Return the descriptors, float32 (B, D), and the local features, float16 (B, C, h, w), from one pass.

        Raises:
            ProgeoError: the model has no local features.
        """


@dataclass
class Timings:
    """Where the time of encoding went, in seconds."""

    reading: float = 0.0
    """Waiting for photos that were still being read."""
    network: float = 0.0
    """Running the model."""
    writing: float = 0.0
    """What was done with the descriptors of a batch before the next was asked for."""


class Encoder:
    """A model and how it is run.

    Attributes:
        model: what the engine runs: a network in evaluation mode, or an exported graph.
        engine: what runs it.
        spec: what the model is.
        preprocessing: how photos are read: the spec's, or what was asked for instead.
        device: name of the device.
        batch_size: photos per forward pass.
        num_workers: reading threads; 0 reads in the calling thread, None takes one per core, at most eight.
        show_progress: whether there are progress bars.
        timings: where the time went so far.
    """

    def __init__(
        self,
        model: PlaceNetwork | ExportedModel,
        engine: Engine,
        *,
        device: str = "cpu",
        batch_size: int = 16,
        num_workers: int | None = None,
        show_progress: bool = False,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        """Keep what is given; ``create`` makes the engine."""
        if batch_size < 1:
            raise ProgeoError(f"`batch_size` must be at least 1, not {batch_size}.")
        self.model = model
        self.engine = engine
        self.spec: ModelSpec = model.spec
        self.preprocessing = preprocessing or self.spec.preprocessing
        self.device = device
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.show_progress = show_progress
        self.timings = Timings()

    @classmethod
    def create(
        cls,
        model: PlaceNetwork | ExportedModel,
        *,
        device: str = "cpu",
        engine: str | None = None,
        precision: str = "float32",
        fold: bool = True,
        **settings: Any,
    ) -> Encoder:
        """Return what runs a model.

        Args:
            model: a network in evaluation mode, which is moved to the device; or an exported graph.
            device: ``cpu``, ``cuda``, ``mps`` or ``auto``.
            engine: ``torch``; ``onnx`` or ``openvino``, which run a graph that is made of the network and checked on
                the first batch; or ``auto``, which takes the fastest: on a processor, for a network of convolutions, a
                graph once there are many photos. None runs a network in PyTorch, and a graph in its own runtime.
            precision: ``float32``, ``half``, ``bf16`` or ``fp16`` (see ``choose_precision``); PyTorch only.
            fold: let convolutions do the work of the batch normalisations that follow.
            **settings: as of the constructor.

        Raises:
            ProgeoError: there is no such device, engine or precision, or a runtime is not installed.
        """
        from progeo.models.engines.choose import create_engine

        chosen = create_engine(model, device, engine=engine, fold=fold, precision=precision)
        return cls(model, chosen, device=str(chosen.device), **settings)

    @property
    def descriptor_dim(self) -> int:
        """Dimension of the descriptors."""
        return self.spec.descriptor_dim

    @property
    def has_local_features(self) -> bool:
        """Whether ``encode_pixels_with_local`` has anything to give."""
        from progeo.models.engines.graphs import ExportedModel

        if isinstance(self.model, ExportedModel):
            return self.model.engine.has_local
        return isinstance(self.engine, LocalEngine) and self.model.local_channels is not None

    @cached_property
    def fingerprint(self) -> str:
        """64 hexadecimal digits, which two models share only if they give the same descriptors."""
        from progeo.models.engines.graphs import ExportedModel
        from progeo.models.fingerprint import compute_fingerprint

        return self.model.fingerprint if isinstance(self.model, ExportedModel) else compute_fingerprint(self.model)

    def open(self, source: Source, name: str | None = None) -> Image.Image:
        """Return a photo upright in RGB, for ``to_pixels`` and for thumbnails; see ``open_photo``."""
        return open_photo(source, self.preprocessing, name=name)

    def to_pixels(self, image: Image.Image) -> Pixels:
        """Return the pixels (H, W, 3) that the model wants of an opened photo."""
        return to_pixels(image, self.preprocessing)

    def read(self, source: Source, name: str | None = None) -> Pixels:
        """Return the pixels (H, W, 3) that the model wants of a photo; see ``read_pixels``."""
        return read_pixels(source, self.preprocessing, name=name)

    def encode(
        self,
        photos: Sequence[Source],
        *,
        description: str | None = None,
        advance: Callable[[int], None] | None = None,
    ) -> Descriptors:
        """Describe photos.

        Args:
            photos: paths, bytes, images, arrays or tensors.
            description: text of the progress bar; without it none is shown unless ``show_progress``.
            advance: told after each batch how many photos it had, for a progress bar of the caller's own.

        Returns:
            float32 (N, D), in the order of ``photos``.

        Raises:
            ProgeoError: a photo cannot be read; the first is named.
        """
        descriptors = np.empty((len(photos), self.descriptor_dim), dtype=np.float32)

        def read(item: tuple[int, Source]) -> tuple[int, Pixels]:
            return item[0], self.read(item[1])

        images = self.read_ahead(read, enumerate(photos), len(photos), description)
        for indices, batch in self.encode_pixels(images):
            descriptors[indices] = batch
            if advance:
                advance(len(indices))
        return descriptors

    def encode_readable(
        self, paths: Sequence[str], *, description: str | None = None
    ) -> tuple[dict[str, Descriptors], dict[str, str]]:
        """Describe photo files, whatever else lies among them.

        Returns:
            The descriptor, float32 (D,), of each path that can be read, in their order, and for each of the others why
            not.
        """
        described: dict[str, Descriptors] = {}
        failures: dict[str, str] = {}

        def read(path: str) -> tuple[str, Pixels | ProgeoError]:
            try:
                return path, self.read(path)
            except ProgeoError as error:
                return path, error

        def images() -> Iterator[tuple[str, Pixels]]:
            for path, image in self.read_ahead(read, paths, len(paths), description):
                if isinstance(image, ProgeoError):
                    failures[path] = str(image)
                else:
                    yield path, image

        for keys, batch in self.encode_pixels(images()):
            described.update(zip(keys, batch, strict=True))
        return {path: described[path] for path in paths if path in described}, failures

    def encode_pixels(self, items: Iterable[tuple[Key, Pixels]]) -> Iterator[tuple[list[Key], Descriptors]]:
        """Describe pixels of any sizes, those of one size together; each comes with a key to know it again by.

        Args:
            items: pairs of a key and pixels (H, W, 3).

        Yields:
            The keys of a batch and its descriptors, float32 (B, D). Batches come as they fill, not in the order given,
            so that folders of mixed sizes run nearly as fast as uniform ones.
        """
        yield from self._run(self.engine.describe, items)

    def encode_pixels_with_local(
        self, items: Iterable[tuple[Key, Pixels]]
    ) -> Iterator[tuple[list[Key], Descriptors, LocalFeatures]]:
        """Describe pixels as ``encode_pixels`` does, and give their local features, from the same forward pass.

        Args:
            items: pairs of a key and pixels (H, W, 3).

        Yields:
            The keys of a batch, its descriptors, float32 (B, D), and its local features, float16 (B, C, h, w), at
            length 1 along C.

        Raises:
            ProgeoError: the model, or the engine that runs it, gives no local features.
        """
        if not isinstance(self.engine, LocalEngine):
            raise ProgeoError(f"{type(self.engine).__name__} gives no local features. Run the model with PyTorch.")
        for keys, (descriptors, local) in self._run(self.engine.describe_with_local, items):
            yield keys, descriptors, local

    def _run(
        self, describe: Callable[[Pixels, Preprocessing], Result], items: Iterable[tuple[Key, Pixels]]
    ) -> Iterator[tuple[list[Key], Result]]:
        """Yield the keys of each batch and what the engine gives for it, and note where the time goes."""
        batches = self._make_batches(items)
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            read = time.perf_counter()
            self.timings.reading += read - start
            if batch is None:
                return
            result = describe(batch[1], self.preprocessing)
            described = time.perf_counter()
            self.timings.network += described - read
            yield batch[0], result
            self.timings.writing += time.perf_counter() - described

    def _make_batches(self, items: Iterable[tuple[Key, Pixels]]) -> Iterator[tuple[list[Key], Pixels]]:
        """Yield the keys and the pixels (B, H, W, 3) of batches of one size, as they fill."""
        waiting: dict[tuple[int, ...], list[tuple[Key, Pixels]]] = defaultdict(list)
        most_waiting = 16 * self.batch_size
        count = 0

        def stack(shape: tuple[int, ...]) -> tuple[list[Key], Pixels]:
            keys, pile = zip(*waiting.pop(shape), strict=True)
            return list(keys), np.stack(pile)

        for key, pixels in items:
            waiting[pixels.shape].append((key, pixels))
            count += 1
            # With many different sizes the largest pile goes before it is full, so that memory stays bounded.
            largest = pixels.shape
            if count >= most_waiting:
                largest = max(waiting, key=lambda shape: len(waiting[shape]))
            if count >= most_waiting or len(waiting[largest]) == self.batch_size:
                count -= len(waiting[largest])
                yield stack(largest)
        for shape in list(waiting):
            yield stack(shape)

    def read_ahead(
        self,
        read: Callable[[Item], Result],
        items: Iterable[Item],
        count: int | None = None,
        description: str | None = None,
    ) -> Iterator[Result]:
        """Yield ``read(item)`` for each of ``count`` items in order, read early in threads, with a bar if wished."""
        from progeo.console import progress_bar

        shown = description or ("Encoding" if self.show_progress else None)
        results = read_ahead(read, items, num_workers=self.num_workers, ahead=4 * self.batch_size)
        if shown is None:
            yield from results
            return
        with progress_bar() as progress:
            yield from progress.track(results, total=count, description=shown)


def extract_descriptors(
    network: PlaceNetwork,
    paths: Sequence[str],
    *,
    device: object = "cpu",
    batch_size: int = 16,
    resize: bool = False,
    num_workers: int | None = None,
    description: str | None = None,
) -> Descriptors:
    """Describe photos at their native size, or with ``resize`` at that of the network: the name of 0.1.0."""
    preprocessing = network.preprocessing if resize else replace(network.preprocessing, native=True)
    settings: dict[str, Any] = {
        "batch_size": batch_size,
        "num_workers": num_workers,
        "preprocessing": preprocessing,
    }
    return Encoder.create(network, device=str(device), **settings).encode(paths, description=description)
