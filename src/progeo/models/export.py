"""Exporting a network as one graph for ONNX Runtime or OpenVINO: from uint8 pixels to descriptors."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from progeo.errors import ProgeoError, require
from progeo.files import atomic_write, write_json
from progeo.models.engines.choose import TOLERANCE, measure_difference
from progeo.models.engines.graphs import (
    INPUT,
    LOCAL_OUTPUT,
    ONNX,
    OPENVINO,
    OUTPUT,
    GraphCard,
    is_graph,
    join_metadata,
    open_graph,
)
from progeo.models.engines.openvino import RT_INFO, WEIGHTS_HASH
from progeo.models.engines.torch import TorchEngine
from progeo.models.fingerprint import compute_fingerprint
from progeo.models.network import PlaceNetwork
from progeo.pixels.recipe import Preprocessing, read_pixels

OPSET = 18
"""Of 2022: runtimes of the last years take it, and nothing here needs a later one."""
TRUSTED = frozenset({"progeo", "torch", "torchvision", "timm", "open_clip"})
"""Whose modules stay as they are as long as their weights do."""
SIDE_CHECKED = 224
"""Pixels; a graph of any size is checked at photos about this large."""
REFERENCE_SIZE = (640, 480)


class PixelsToDescriptors(nn.Module):
    """A network with what comes before it: from pixels (B, H, W, 3), uint8, to descriptors, and local features."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: PlaceNetwork) -> None:
        """Take a network, in evaluation mode."""
        super().__init__()
        self.network = network
        for name in ("mean", "std"):
            values = getattr(network.preprocessing, name)
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Return the descriptors (B, D), and the local features (B, C, h, w) where the network has any."""
        images = (pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        if self.network.local_channels is not None:
            return self.network.forward_with_local(images)
        descriptors: torch.Tensor = self.network(images)
        return descriptors


def export_model(network: PlaceNetwork, path: str | Path) -> GraphCard:
    """Write a network as a graph, with a photo and its descriptor beside it, and try it out.

    Args:
        network: in evaluation mode, on the processor.
        path: ``.onnx``, or ``.xml`` for OpenVINO, which puts the weights into a ``.bin`` beside it. Also written are
            ``<name>.reference.png`` and ``<name>.reference.json``, that photo's descriptor by PyTorch.

    Returns:
        What the graph says of itself.

    Raises:
        ProgeoError: the network cannot be exported, or the runtime gives other descriptors; no graph is left then, and
            one that was there before stays.
    """
    path = Path(path)
    if not is_graph(path):
        raise ProgeoError(f"{path}: a graph is called …{ONNX} (ONNX) or …{OPENVINO} (OpenVINO).")
    for library in ("onnx", "openvino" if path.suffix.lower() == OPENVINO else "onnxruntime"):
        require(library, "Exporting")
    content = export_graph(network)
    path.parent.mkdir(parents=True, exist_ok=True)
    # In a folder of its own beside the target, as a graph of OpenVINO is two files that name each other.
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}.", dir=path.parent) as folder:
        written = Path(folder) / path.name
        with atomic_write(written) as temporary:
            temporary.write_bytes(content)
        if path.suffix.lower() == OPENVINO:
            _convert_to_openvino(content, written)
        card = check_graph(written, network, path)
        _write_reference(network, path)
        with atomic_write(path) as temporary:
            if path.suffix.lower() == OPENVINO:
                written.with_suffix(".bin").replace(path.with_suffix(".bin"))
            written.replace(temporary)
    return card


def export_graph(network: PlaceNetwork) -> bytes:
    """Return the ONNX graph of a network in evaluation mode, with what it says of itself; nothing is tried out.

    Models of squares get a graph of that size, which is about a fifth faster; all others one of any size.

    Raises:
        ProgeoError: it cannot be exported; the message gives the reason.
    """
    onnx = require("onnx", "Exporting")
    preprocessing = network.preprocessing
    side = preprocessing.image_size if preprocessing.square else min(preprocessing.image_size, SIDE_CHECKED)
    size = (side, side) if preprocessing.square else None
    sides = {} if size else {1: "height", 2: "width"}
    grid = {} if size else {2: "rows", 3: "columns"}
    axes = {INPUT: {0: "batch", **sides}, OUTPUT: {0: "batch"}, LOCAL_OUTPUT: {0: "batch", **grid}}
    outputs = [OUTPUT] if network.local_channels is None else [OUTPUT, LOCAL_OUTPUT]
    example = torch.zeros((2, side, side if size else side + side // 3, 3), dtype=torch.uint8)
    home = next(network.parameters(), torch.empty(0)).device
    try:
        with (
            torch.no_grad(),
            warnings.catch_warnings(),
            _silence(),
            tempfile.TemporaryDirectory() as folder,
        ):
            path = Path(folder) / f"model{ONNX}"
            warnings.simplefilter("ignore")
            # The exporter by torch.export takes minutes for sides of any length, and does not always come to an end.
            torch.onnx.export(
                PixelsToDescriptors(_fix_size(network) if size else network).eval().to(home),
                (example.to(home),),
                path,
                dynamo=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=outputs,
                dynamic_axes={name: axes[name] for name in (INPUT, *outputs)},
            )
            graph = onnx.load_model(path)
        card = GraphCard(network.spec, compute_fingerprint(network), size)
        onnx.helper.set_model_props(graph, card.to_metadata())
        content: bytes = graph.SerializeToString()
        return content
    except Exception as error:  # whatever the exporter meets in a network
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ProgeoError(f"{network.spec.backbone} cannot be exported: {reason}.{_advise(preprocessing)}") from error


def check_graph(path: Path, network: PlaceNetwork, where: Path) -> GraphCard:
    """Compare a graph with PyTorch on noise of three shapes.

    Returns:
        What the graph says of itself.

    Raises:
        ProgeoError: the descriptors differ, or the runtime does not take the graph; errors call it ``where``.
    """
    engine = open_graph(path, where=where).engine
    expected = TorchEngine(network, next(network.parameters(), torch.empty(0)).device, fold=False)
    preprocessing = network.preprocessing
    for pixels in _make_noise(preprocessing):
        shape = "x".join(map(str, pixels.shape))
        try:
            if network.local_channels is None:
                difference = measure_difference(
                    engine.describe(pixels, preprocessing), expected.describe(pixels, preprocessing)
                )
            else:
                found = engine.describe_with_local(pixels, preprocessing)
                right = expected.describe_with_local(pixels, preprocessing)
                difference = max(measure_difference(found[0], right[0]), measure_difference(found[1], right[1]))
            reason = f"for photos of {shape} its outputs differ from PyTorch's by {difference:.1e} of their length."
        except ProgeoError as error:
            difference, reason = float("inf"), str(error)
        if difference > TOLERANCE:
            raise ProgeoError(f"{where} was not written: {reason}{_advise(preprocessing)}")
    return engine.card


def find_obstacle(network: PlaceNetwork) -> str | None:
    """Return why the graph of a network cannot stand for it from now on, or None.

    The cache knows a network by its spec and its weights, so these must be all that its descriptors depend on.
    """
    if getattr(network.backbone, "is_foreign", False):
        return "it is code of others, which may change while its weights do not."
    for module in network.modules():
        package = type(module).__module__.partition(".")[0]
        if package not in TRUSTED:
            return f"its part {type(module).__qualname__} is of {package}, and may change while its weights do not."
    return None


def is_convolutional(network: PlaceNetwork) -> bool:
    """Whether most weights of the backbone are those of convolutions: such networks are faster as graphs."""
    convolutions = {
        id(parameter)
        for module in network.backbone.modules()
        if isinstance(module, nn.Conv2d)
        for parameter in module.parameters(recurse=False)
    }
    sizes = {id(parameter): parameter.numel() for parameter in network.backbone.parameters()}
    return 2 * sum(sizes[parameter] for parameter in convolutions) > sum(sizes.values())


def _fix_size(network: PlaceNetwork) -> PlaceNetwork:
    """Return a network whose transformer of timm has the position embeddings of its image size.

    Interpolating them is beyond ONNX.
    """
    if not hasattr(getattr(network.backbone, "network", None), "set_input_size"):
        return network
    copied = copy.deepcopy(network)
    side = network.preprocessing.image_size
    transformer: Any = copied.backbone.network
    transformer.set_input_size(img_size=(side, side))
    return copied


@contextmanager
def _silence() -> Iterator[None]:
    """Keep stdout for results: before PyTorch raises an error, its C++ code prints the whole graph there."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        for descriptor in (kept, nowhere):
            os.close(descriptor)


def _advise(preprocessing: Preprocessing) -> str:
    return "" if preprocessing.square else " Exported for squares of one size (`square`) it may work."


def _make_noise(preprocessing: Preprocessing) -> Iterator[NDArray[np.uint8]]:
    """Yield pixels of three shapes (B, H, W, 3) that a model takes."""
    side = preprocessing.image_size if preprocessing.square else min(preprocessing.image_size, SIDE_CHECKED)
    other = side if preprocessing.square else side + side // 3
    odd = side if preprocessing.square else side + 3
    generator = np.random.default_rng(0)
    for shape in ((1, side, other), (2, other, side), (3, odd, side)):
        yield generator.integers(0, 256, (*shape, 3), dtype=np.uint8)


def _convert_to_openvino(content: bytes, path: Path) -> None:
    """Write a graph of ONNX as the two files of OpenVINO."""
    openvino, onnx = require("openvino", "Exporting for OpenVINO"), require("onnx", "Exporting")
    model = openvino.Core().read_model(content)
    metadata = join_metadata(onnx.load_model_from_string(content).metadata_props)
    for attempt in range(2):  # the hash of the weights is known once they are written
        for key, value in metadata.items():
            model.set_rt_info(value, [RT_INFO, key])
        openvino.save_model(model, str(path), compress_to_fp16=False)
        if attempt == 0:
            metadata = {WEIGHTS_HASH: hashlib.sha256(path.with_suffix(".bin").read_bytes()).hexdigest()}


def _write_reference(network: PlaceNetwork, path: Path) -> None:
    """Write a photo and its descriptor beside a graph, so that other programs can check how they read photos."""
    width, height = REFERENCE_SIZE
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    photo = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    picture, note = (path.with_name(f"{path.stem}.reference{suffix}") for suffix in (".png", ".json"))
    with atomic_write(picture) as temporary:
        photo.save(temporary, format="PNG")
    engine = TorchEngine(network, next(network.parameters(), torch.empty(0)).device, fold=False)
    pixels = read_pixels(picture, network.preprocessing)
    descriptor = engine.describe(pixels[np.newaxis], network.preprocessing)[0]
    content: dict[str, Any] = {
        "photo": picture.name,
        "pixels": f"uint8, 1 x {pixels.shape[0]} x {pixels.shape[1]} x 3, upright RGB, {_describe_reading(network)}",
        "spec": json.loads(json.dumps(network.spec.to_dict(), default=str)),
        "descriptor": [float(value) for value in descriptor],
    }
    write_json(note, content)


def _describe_reading(network: PlaceNetwork) -> str:
    preprocessing = network.preprocessing
    return f"{preprocessing.describe()}, {preprocessing.interpolation} with antialiasing"
