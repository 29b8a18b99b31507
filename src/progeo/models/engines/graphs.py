"""Exported graphs: one file that holds a whole network and says what it is. Running one needs no torch."""

from __future__ import annotations

import io
import json
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from progeo.errors import ProgeoError, explain_lack_of_memory
from progeo.files import read_bytes
from progeo.models.spec import ModelSpec, explain_damage
from progeo.pixels.recipe import MAX_SIDE, Preprocessing, list_sources
from progeo.plain import parse_json, read_value

if TYPE_CHECKING:
    from progeo.pixels.recipe import Source

FORMAT_VERSION = 1
ONNX, OPENVINO = ".onnx", ".xml"
SIGNS_OF_LITTLE_MEMORY = ("bad_alloc", "allocate")
INPUT = "pixels"
OUTPUT = "descriptors"
LOCAL_OUTPUT = "local_features"
ENGINES = {"onnx": "onnxruntime", "openvino": "openvino"}
"""The engines that run graphs, the first one preferred, and the library of each."""

Kept = Path | bytes | Callable[[], bytes]


@dataclass(frozen=True)
class GraphCard:
    """What a graph says of itself, in the metadata of its file.

    Attributes:
        spec: what the model is.
        fingerprint: of the network that it was exported from (see ``compute_fingerprint``): they share databases,
            calibrations and stored descriptors.
        size: height and width of the only photos it takes, in pixels; None where it takes any.
    """

    spec: ModelSpec
    fingerprint: str
    size: tuple[int, int] | None = None

    def to_metadata(self) -> dict[str, str]:
        """Return it as texts."""
        return {
            "progeo_format": str(FORMAT_VERSION),
            "progeo_spec": json.dumps(self.spec.to_dict(), default=str),
            "progeo_fingerprint": self.fingerprint,
            "progeo_size": json.dumps(self.size),
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], where: object) -> GraphCard:
        """Return what ``to_metadata`` made texts of.

        Raises:
            ProgeoError: there is none, or it is damaged or of a newer progeo; the message names ``where`` it stands.
        """
        if "progeo_spec" not in metadata:
            raise ProgeoError(
                f"{where} is a graph that does not say what model it is: progeo did not export it. Export the model "
                "with progeo export, or give the model file itself."
            )
        try:
            version = int(metadata["progeo_format"])
            if version > FORMAT_VERSION:
                raise ProgeoError(f"{where} is a graph of format {version}, of a newer progeo. Please update progeo.")
            size = read_value(tuple[int, int] | None, parse_json(metadata["progeo_size"]), "progeo_size")
            if size and not all(1 <= side <= MAX_SIDE for side in size):
                raise ValueError(f"progeo_size is {size}")
            return cls(ModelSpec.from_json(metadata["progeo_spec"], where), metadata["progeo_fingerprint"], size)
        except KeyError as error:
            raise explain_damage(where, ValueError(f"{error.args[0]} is missing")) from error
        except ValueError as error:
            raise explain_damage(where, error) from error


class GraphEngine(ABC):
    """A runtime with a graph in it.

    Attributes:
        card: what the graph says of itself.
        device: ``cpu`` or ``cuda``.
        name: the runtime, and what of it computes, in words.
        has_local: whether the graph gives local features too.
    """

    card: GraphCard
    has_local: bool
    device: str
    name: str

    @abstractmethod
    def run(self, pixels: NDArray[np.uint8], outputs: Sequence[str]) -> list[NDArray[np.float32]]:
        """Return the outputs of these names for pixels (B, H, W, 3)."""

    def describe(self, pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
        """Return the descriptors, float32 (B, D), of pixels (B, H, W, 3).

        Raises:
            ProgeoError: the graph takes other photos, or there is too little memory.
        """
        self._check(pixels, preprocessing)
        (descriptors,) = self._run(pixels, [OUTPUT])
        return descriptors

    def describe_with_local(
        self, pixels: NDArray[np.uint8], preprocessing: Preprocessing
    ) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
        """Return the descriptors, float32 (B, D), and the local features, float16 (B, C, h, w), from one pass.

        Raises:
            ProgeoError: the graph takes other photos or gives no local features, or there is too little memory.
        """
        self._check(pixels, preprocessing)
        if not self.has_local:
            raise ProgeoError(f"The graph of {self.card.spec.backbone} has no local features, nor has its model.")
        descriptors, local = self._run(pixels, [OUTPUT, LOCAL_OUTPUT])
        return descriptors, local.astype(np.float16)

    def takes(self, pixels: NDArray[np.uint8]) -> bool:
        """Whether the graph takes pixels (B, H, W, 3) of this size."""
        return self.card.size in (None, pixels.shape[1:3])

    def _run(self, pixels: NDArray[np.uint8], outputs: Sequence[str]) -> list[NDArray[np.float32]]:
        with explain_lack_of_memory("lower `batch_size`, or take a model of smaller photos"):
            try:
                return self.run(pixels, outputs)
            except Exception as error:  # those of the runtimes have no common class
                reason = " ".join(str(error).split())[:300]
                if any(sign in reason for sign in SIGNS_OF_LITTLE_MEMORY):
                    raise MemoryError(reason) from error
                shape = "x".join(map(str, pixels.shape))
                raise ProgeoError(f"{self.name} stops at photos of {shape}: {reason}") from error

    def _check(self, pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> None:
        own = self.card.spec.preprocessing
        if (preprocessing.mean, preprocessing.std) != (own.mean, own.std):
            raise ProgeoError(
                f"This graph has `mean` {own.mean} and `std` {own.std} inside. For others, give the model file itself."
            )
        if not self.takes(pixels) and self.card.size:
            height, width = self.card.size
            raise ProgeoError(
                f"This graph takes photos of {width} x {height} pixels only, not {pixels.shape[2]} x "
                f"{pixels.shape[1]}. Leave out `image_size` and `native`, or give the model file itself."
            )


class ExportedModel:
    """A model as a graph: it is run as it is, everywhere, and cannot be trained.

    Attributes:
        engine: the runtime with the graph in it.
        spec: what the model is.
        fingerprint: see ``GraphCard``.
    """

    def __init__(self, engine: GraphEngine, kept: Kept, spec: ModelSpec | None = None) -> None:
        """Put together what ``open_graph`` opens.

        Args:
            engine: the runtime.
            kept: what a place database keeps of it: a file, the content of one, or a function that gives that.
            spec: what the model is, where that is known better than the graph says it.
        """
        self.engine = engine
        self.spec = spec or engine.card.spec
        self.fingerprint = engine.card.fingerprint
        self._kept = kept

    @property
    def preprocessing(self) -> Preprocessing:
        """How it wants its photos."""
        return self.spec.preprocessing

    @property
    def descriptor_dim(self) -> int:
        """Dimension of the descriptors."""
        return self.spec.descriptor_dim

    def read_content(self) -> bytes:
        """Return what ``open_graph`` makes it again from: one file, or the two of OpenVINO, packed."""
        if not isinstance(self._kept, Path):
            return self._kept if isinstance(self._kept, bytes) else self._kept()
        if self._kept.suffix != OPENVINO:
            return read_bytes(self._kept)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for path in (self._kept, self._kept.with_suffix(".bin")):
                archive.write(path, f"model{path.suffix}")
        return packed.getvalue()

    def encode(
        self,
        photos: Source | Sequence[Source],
        *,
        device: object = None,
        batch_size: int = 16,
        num_workers: int | None = None,
        progress: bool = False,
        output: Literal["numpy", "torch"] = "numpy",
    ) -> Any:
        """Encode photos at the model's own size: as ``PlaceNetwork.encode`` does, but on the graph's own device."""
        from progeo.models.encoder import Encoder

        if device not in (None, self.engine.device):
            raise ProgeoError(
                f"`device` {device}: this graph was loaded for {self.engine.device}. Load it for another."
            )
        encoder = Encoder.create(self, batch_size=batch_size, num_workers=num_workers)
        descriptors = encoder.encode(list_sources(photos), description="Encoding" if progress else None)
        if output == "numpy":
            return descriptors
        import torch

        return torch.from_numpy(descriptors)


def is_graph(source: str | Path | bytes) -> bool:
    """Whether a file, by its name, or the content of one is a graph."""
    if isinstance(source, bytes):
        return source[:1] == b"\x08" or source[:2] == b"PK"  # ONNX starts with its version; a zip holds OpenVINO's two
    return Path(source).suffix.lower() in (ONNX, OPENVINO)


def open_graph(
    source: str | Path | bytes, *, device: str = "cpu", engine: str | None = None, where: object = None
) -> ExportedModel:
    """Open an exported graph.

    Args:
        source: an ``.onnx`` file, an ``.xml`` of OpenVINO with its ``.bin`` beside it, or what ``read_content`` gives.
        device: ``cpu``, ``cuda`` or ``auto``.
        engine: ``onnx`` or ``openvino``; None and ``auto`` take that of the file, or the other where it is missing.
        where: what errors call it; without it its path.

    Raises:
        ProgeoError: it is no graph of progeo, is damaged, or the runtime is missing or does not run here.
    """
    where = where or (source if not isinstance(source, bytes) else "the graph")
    kept = source if isinstance(source, bytes) else Path(source)
    if isinstance(kept, Path) and not kept.is_file():
        raise ProgeoError(f"There is no graph {kept}.")
    is_openvino = kept[:2] == b"PK" if isinstance(kept, bytes) else kept.suffix.lower() == OPENVINO
    if engine == "torch":
        raise ProgeoError(
            f"{where} is an exported graph, which PyTorch does not run: leave out `engine`, or give the model file."
        )
    if is_openvino and engine == "onnx":
        raise ProgeoError(f"{where} is a graph of OpenVINO: leave out `engine`, or export it as .onnx.")
    if engine in (None, "auto"):
        engine = "openvino" if is_openvino else find_runtime() or "onnx"
    if engine == "onnx":
        from progeo.models.engines.onnx import OnnxEngine

        return ExportedModel(OnnxEngine(kept, device, where), kept)
    from progeo.models.engines.openvino import OpenVinoEngine

    return ExportedModel(OpenVinoEngine(kept, device, where), kept)


def find_runtime() -> str | None:
    """Return the engine that runs graphs here, ``onnx`` or ``openvino``; None where neither is installed."""
    from importlib.util import find_spec

    return next((engine for engine, library in ENGINES.items() if find_spec(library)), None)


def explain_graph(error: Exception, where: object, runtime: str) -> ProgeoError:
    """Return the error of a runtime that does not take a graph, as one that says what to do."""
    reason = " ".join(str(error).split())
    if "opset" in reason.lower() or "ir version" in reason.lower() or "ir_version" in reason.lower():
        advice = f"Export the model again with the progeo that is installed here, or update {runtime}."
    else:
        advice = "It is damaged, or no graph: export the model again."
    return ProgeoError(f"{runtime} cannot open {where}: {reason[:300]}. {advice}")


def join_metadata(entries: Any) -> dict[str, str]:
    """Return entries with ``key`` and ``value`` as a dictionary."""
    return {entry.key: entry.value for entry in entries}
