"""The engine of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from progeo.devices import count_processors
from progeo.errors import ProgeoError, require
from progeo.models.engines.graphs import INPUT, LOCAL_OUTPUT, GraphCard, GraphEngine, explain_graph

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
ERRORS_ONLY = 3


class OnnxEngine(GraphEngine):
    """Runs a graph of ONNX in ONNX Runtime, on as many threads as the process may keep busy."""

    def __init__(self, graph: Path | bytes, device: str = "cpu", where: object = None) -> None:
        """Open a graph, a file or its content; errors call it ``where``.

        Raises:
            ProgeoError: ONNX Runtime is missing or does not take it, or there is no such device.
        """
        runtime = require("onnxruntime", "The engine onnx")
        available = runtime.get_available_providers()
        if device == "auto":
            device = "cuda" if PROVIDERS["cuda"] in available else "cpu"
        device = device.partition(":")[0]
        provider = PROVIDERS.get(device)
        if provider not in available:
            raise ProgeoError(
                f"`device` {device}: this ONNX Runtime computes with {', '.join(available)} only. Take `device` cpu, "
                "or install onnxruntime-gpu."
            )
        options = runtime.SessionOptions()
        options.intra_op_num_threads = count_processors()
        options.inter_op_num_threads = 1
        # Waiting threads would otherwise keep the processors busy that read photos.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = ERRORS_ONLY
        try:
            content = graph if isinstance(graph, bytes) else str(graph)
            self._session = runtime.InferenceSession(content, options, providers=[provider])
        except Exception as error:  # its errors have no common class
            raise explain_graph(error, where or graph, "ONNX Runtime") from error
        self.card = GraphCard.from_metadata(self._session.get_modelmeta().custom_metadata_map, where or graph)
        self.has_local = any(output.name == LOCAL_OUTPUT for output in self._session.get_outputs())
        self.device = device
        self.name = f"ONNX Runtime, {self._session.get_providers()[0]}"
        self._run_options = runtime.RunOptions()
        self._run_options.log_severity_level = ERRORS_ONLY
        self._run_options.only_execute_path_to_fetches = True

    def run(self, pixels: NDArray[np.uint8], outputs: Sequence[str]) -> list[NDArray[np.float32]]:
        """Return the outputs of these names for pixels (B, H, W, 3)."""
        return list(self._session.run(list(outputs), {INPUT: pixels}, self._run_options))
