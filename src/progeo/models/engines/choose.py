"""Which engine runs a model: PyTorch, or a graph of it in a runtime that is faster on processors."""

from __future__ import annotations

import logging
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from progeo.devices import may_have_gpu
from progeo.errors import ProgeoError, how_to_install, require
from progeo.models.engines.cache import find_cached, keep
from progeo.models.engines.graphs import ENGINES, ExportedModel, GraphEngine, Kept, find_runtime, is_graph, open_graph
from progeo.models.fingerprint import compute_fingerprint, fingerprint_file, fingerprint_tensors
from progeo.pixels.recipe import Preprocessing

if TYPE_CHECKING:
    from progeo.models.encoder import Engine
    from progeo.models.engines.torch import TorchEngine
    from progeo.models.network import PlaceNetwork
    from progeo.models.spec import ModelSpec

logger = logging.getLogger("progeo")

NAMES = ("auto", "torch", *ENGINES)
PHOTOS_BEFORE_GRAPH = 64
"""Making a graph takes as long as PyTorch takes for about so many photos of a convolutional network."""
TOLERANCE = 1e-4
"""Distance of a graph's descriptor from PyTorch's, as a share of its length."""


def load_runnable(
    name_or_path: str | Path, *, engine: str | None = None, device: str = "cpu", **loading: Any
) -> PlaceNetwork | ExportedModel:
    """Load a model to encode photos with: as its graph, without PyTorch, where there is one that the engine may take.

    Args:
        name_or_path: what ``load_model`` takes.
        engine: as for ``Encoder.create``.
        device: ``cpu``, ``cuda``, ``mps`` or ``auto``.
        **loading: further arguments of ``load_model``.

    Raises:
        ProgeoError: as of ``load_model``.
    """
    check_engine(engine)
    path = Path(name_or_path)
    if is_graph(path) and path.is_file():
        return open_graph(path, device=device, engine=engine)
    asked = {name: loading.get(name) for name in ("backbone", "descriptor_dim")}
    if may_take_graph(engine, device) and path.is_file() and not loading.get("trust_remote_code"):
        found = None if any(asked.values()) else fingerprint_file(path)
        if found is None:  # a state dict, say, for which PyTorch is loaded, but no network is made
            from progeo.models.files import read_model_file

            spec, tensors = read_model_file(path, **asked)
            found = fingerprint_tensors(spec, tensors), spec
        if model := find_exported(*found, engine=engine, kept=path):
            return model
    from progeo.models.loading import load_model

    return load_model(name_or_path, device=device, **loading)


def check_engine(engine: str | None) -> None:
    """Raise ProgeoError if there is no such engine, or its library is missing."""
    if engine not in (None, *NAMES):
        raise ProgeoError(f"`engine` is {', '.join(NAMES[:-1])} or {NAMES[-1]}, not {engine!r}.")
    if engine in ENGINES:
        require(ENGINES[engine], f"The engine {engine}")


def may_take_graph(engine: str | None, device: str) -> bool:
    """Whether graphs come into question; PyTorch is not loaded to find out."""
    if engine in ENGINES:
        return True
    on_processor = device == "cpu" or (device == "auto" and not may_have_gpu())
    return engine == "auto" and on_processor and find_runtime() is not None


def find_exported(fingerprint: str, spec: ModelSpec, *, engine: str | None, kept: Kept) -> ExportedModel | None:
    """Return the graph that the cache has of a model; None where there is none, or PyTorch is faster.

    Args:
        fingerprint: of the model.
        spec: what it is.
        engine: ``auto``, ``onnx`` or ``openvino``.
        kept: the model file that it was made from, which a place database keeps (see ``ExportedModel``).
    """
    cached = find_cached(fingerprint)
    if cached is None or (engine == "auto" and not cached[1].get("is_faster")):
        return None
    try:
        return ExportedModel(open_graph(cached[0], engine=engine).engine, kept, spec)
    except ProgeoError as error:
        logger.warning(f"The graph in the cache is not used: {error}")
        return None


def create_engine(
    model: PlaceNetwork | ExportedModel, device: str, *, engine: str | None, fold: bool, precision: str
) -> Engine:
    """Return what runs a model; see ``Encoder.create``."""
    check_engine(engine)
    if isinstance(model, ExportedModel):
        if precision != "float32":
            raise ProgeoError(f"`precision` {precision}: a graph computes in float32. Leave `precision` out.")
        is_other = engine in ENGINES and engine not in type(model.engine).__module__
        return open_graph(model.read_content(), engine=engine).engine if is_other else model.engine
    from progeo.models.engines.torch import TorchEngine
    from progeo.models.export import find_obstacle, is_convolutional

    torch_engine = TorchEngine(model, device, fold=fold, precision=precision)
    if engine in (None, "torch") or (engine == "auto" and torch_engine.device.type != "cpu"):
        return torch_engine
    is_faster = is_convolutional(model)
    if engine == "auto" and not is_faster:
        return torch_engine
    if obstacle := find_obstacle(model):
        if engine != "auto":
            logger.warning(f"PyTorch runs this model, not `engine` {engine}: {obstacle}")
        return torch_engine
    runtime = find_runtime() if engine == "auto" else engine
    if runtime is None:
        torch_engine.name += f"; {how_to_install('onnx')} may run it faster"
        return torch_engine
    wait_for = PHOTOS_BEFORE_GRAPH if engine == "auto" else 0
    return SwitchingEngine(model, torch_engine, runtime, wait_for=wait_for, is_faster=is_faster)


class SwitchingEngine:
    """PyTorch, until there are so many photos that a graph pays; then the graph, if it agrees on its first batch.

    The graph comes from the cache, and goes there.
    """

    def __init__(
        self, network: PlaceNetwork, torch_engine: TorchEngine, runtime: str, *, wait_for: int, is_faster: bool
    ) -> None:
        """Take the network, what runs it, and the engine that is to run the graph.

        Args:
            network: in evaluation mode.
            torch_engine: runs it meanwhile, and for photos that the graph does not take.
            runtime: ``onnx`` or ``openvino``.
            wait_for: photos after which the graph is made.
            is_faster: whether the graph is faster than PyTorch, for the note in the cache.
        """
        self.device = "cpu"
        self._network = network
        self._torch = torch_engine
        self._runtime = runtime
        self._wait_for = wait_for
        self._is_faster = is_faster
        self._graph: GraphEngine | None = None
        self._photos = 0
        self._has_tried = False
        self._lock = Lock()

    @property
    def name(self) -> str:
        """What runs the model at the moment, in words."""
        return self._graph.name if self._graph else self._torch.name

    def describe(self, pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
        """Return the descriptors, float32 (B, D), of pixels (B, H, W, 3)."""
        if self._graph is not None and self._graph.takes(pixels):
            return self._graph.describe(pixels, preprocessing)
        expected = self._torch.describe(pixels, preprocessing)
        self._count(pixels, preprocessing, expected)
        return expected

    def describe_with_local(
        self, pixels: NDArray[np.uint8], preprocessing: Preprocessing
    ) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
        """Return the descriptors, float32 (B, D), and the local features, float16 (B, C, h, w), from one pass."""
        if self._graph is not None and self._graph.takes(pixels):
            return self._graph.describe_with_local(pixels, preprocessing)
        expected = self._torch.describe_with_local(pixels, preprocessing)
        self._count(pixels, preprocessing, expected[0])
        return expected

    def _count(self, pixels: NDArray[np.uint8], preprocessing: Preprocessing, expected: NDArray[np.float32]) -> None:
        """Make the graph once there were enough photos, and try it out on these."""
        with self._lock:
            self._photos += len(pixels)
            if self._photos >= self._wait_for and not self._has_tried:
                self._has_tried = True
                self._graph = self._make_graph(pixels, preprocessing, expected)
                if self._graph:
                    logger.info(f"From now on {self.name} runs the model")

    def _make_graph(
        self, pixels: NDArray[np.uint8], preprocessing: Preprocessing, expected: NDArray[np.float32]
    ) -> GraphEngine | None:
        """Return the graph if it gives what PyTorch gives; None, with one line, where it does not."""
        from progeo.models.export import export_graph

        try:
            fingerprint = compute_fingerprint(self._network)
            if cached := find_cached(fingerprint):
                return open_graph(cached[0], engine=self._runtime).engine
            content = export_graph(self._network)
            graph = open_graph(content, engine=self._runtime).engine
            if not graph.takes(pixels):
                raise ProgeoError("its graph takes photos of one size only")
            difference = measure_difference(graph.describe(pixels, preprocessing), expected)
            if difference > TOLERANCE:
                raise ProgeoError(f"the descriptors of its graph differ by {difference:.1e}")
        except ProgeoError as error:
            logger.warning(f"PyTorch goes on running this model, not `engine` {self._runtime}: {error}")
            return None
        try:
            keep(fingerprint, content, is_faster=self._is_faster, difference=difference)
        except ProgeoError as error:
            logger.warning(f"The graph of this model is not kept for the next time: {error}")
        return graph


def measure_difference(found: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """Return the largest distance of two outputs (B, ...) for one photo, as a share of its length; NaN is infinite."""
    if found.shape != expected.shape:
        return float("inf")
    one, other = (array.reshape(len(array), -1).astype(np.float32) for array in (found, expected))
    shares = np.linalg.norm(one - other, axis=1) / np.maximum(np.linalg.norm(other, axis=1), 1e-12)
    return float(np.nan_to_num(shares, nan=np.inf).max())
