"""The engine of OpenVINO."""

from __future__ import annotations

import hashlib
import io
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from progeo.devices import count_processors
from progeo.errors import ProgeoError, require
from progeo.files import read_bytes
from progeo.models.engines.graphs import (
    INPUT,
    LOCAL_OUTPUT,
    OPENVINO,
    GraphCard,
    GraphEngine,
    explain_graph,
    join_metadata,
)

RT_INFO = "progeo"
"""Where a graph of OpenVINO keeps what it says of itself."""
WEIGHTS_HASH = "progeo_weights"


class OpenVinoEngine(GraphEngine):
    """Runs a graph of OpenVINO, or one of ONNX, in OpenVINO on the processor, in float32."""

    def __init__(self, graph: Path | bytes, device: str = "cpu", where: object = None) -> None:
        """Open a graph, a file or its content; errors call it ``where``.

        Raises:
            ProgeoError: OpenVINO is missing, does not take it or does not run on this processor.
        """
        if device not in ("cpu", "auto"):
            raise ProgeoError(f"`device` {device}: the engine openvino computes on the processor. Take `device` cpu.")
        openvino = require("openvino", "The engine openvino")
        where = where or graph
        core = openvino.Core()
        if "CPU" not in core.available_devices:
            raise ProgeoError("OpenVINO does not run on this processor. Take `engine` onnx or torch.")
        try:
            model, metadata = _read(core, graph, where)
        except ProgeoError:
            raise
        except Exception as error:  # its errors have no common class
            raise explain_graph(error, where, "OpenVINO") from error
        self.card = GraphCard.from_metadata(metadata, where)
        # Without the hint it computes in bfloat16 where the processor has it.
        settings = {"INFERENCE_NUM_THREADS": count_processors(), "INFERENCE_PRECISION_HINT": "f32"}
        try:
            self._compiled = core.compile_model(model, "CPU", settings)
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise ProgeoError(
                f"OpenVINO does not run this model on this processor ({reason}). Take `engine` onnx or torch."
            ) from error
        self.has_local = any(LOCAL_OUTPUT in output.get_names() for output in self._compiled.outputs)
        self.device = "cpu"
        self.name = "OpenVINO, CPU"

    def run(self, pixels: NDArray[np.uint8], outputs: Sequence[str]) -> list[NDArray[np.float32]]:
        """Return the outputs of these names for pixels (B, H, W, 3)."""
        found = self._compiled.create_infer_request().infer({INPUT: pixels})
        return [np.array(found[name]) for name in outputs]


def _read(core: Any, graph: Path | bytes, where: object) -> tuple[Any, dict[str, str]]:
    """Return a graph of OpenVINO's and what it says of itself."""
    if isinstance(graph, bytes) and graph[:2] == b"PK":
        with tempfile.TemporaryDirectory() as folder:
            with zipfile.ZipFile(io.BytesIO(graph)) as archive:
                archive.extractall(folder)
            return _read(core, Path(folder) / "model.xml", where)
    if isinstance(graph, Path) and graph.suffix.lower() == OPENVINO:
        weights = graph.with_suffix(".bin")
        if not weights.is_file():
            raise ProgeoError(f"The weights {weights} are missing: a graph of OpenVINO is an .xml and a .bin file.")
        content = read_bytes(weights)
        model = core.read_model(read_bytes(graph), content)
        own = model.rt_info[RT_INFO] if RT_INFO in model.rt_info else {}  # noqa: SIM401 (it has no get)
        metadata = {key: str(entry.value) for key, entry in own.items()}
        if WEIGHTS_HASH in metadata and metadata[WEIGHTS_HASH] != hashlib.sha256(content).hexdigest():
            raise ProgeoError(f"{weights} does not belong to {graph}, or is damaged: export the model again.")
        return model, metadata
    onnx = require("onnx", "Reading ONNX in OpenVINO")
    content = graph if isinstance(graph, bytes) else read_bytes(graph)
    return core.read_model(content), join_metadata(onnx.load_model_from_string(content).metadata_props)
