"""The model that a place database keeps: its weights and its spec, as a model file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from progeo.errors import ProgeoError
from progeo.models.encoder import Encoder
from progeo.models.engines.choose import load_runnable
from progeo.models.engines.graphs import ExportedModel, is_graph, open_graph

if TYPE_CHECKING:
    from progeo.models.network import PlaceNetwork

    Model = PlaceNetwork | ExportedModel

SAME_DESCRIPTOR = 1e-3
"""Distance of two descriptors of one photo, as a share of their length, that rounding may explain."""


def load_model(
    model: str | Path | Model, *, trust_remote_code: bool = False, device: str = "cpu", engine: str | None = None
) -> Model:
    """Return a model in evaluation mode, loaded for an engine where only its name, address or file is given."""
    if isinstance(model, str | Path):
        return load_runnable(model, engine=engine, device=device, trust_remote_code=trust_remote_code)
    return model if isinstance(model, ExportedModel) else model.eval()


def check_independent(encoder: Encoder) -> None:
    """Refuse a model whose descriptor of a photo depends on what else is in the batch.

    Raises:
        ProgeoError: its spec says so, or two pictures of noise show it.
    """
    is_dependent = encoder.spec.provenance.get("batch_dependent")
    if is_dependent is None:
        side = encoder.preprocessing.image_size
        pixels = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
        alone = encoder.engine.describe(pixels[:1], encoder.preprocessing)[0]
        together = encoder.engine.describe(pixels, encoder.preprocessing)[0]
        # NaN is no difference: it is found with the photo that gives it.
        is_dependent = np.linalg.norm(together - alone) > SAME_DESCRIPTOR * np.linalg.norm(alone)
    if is_dependent:
        raise ProgeoError(
            f"{encoder.spec.backbone} gives a photo another descriptor alone than in a batch with others. A database "
            "and its queries are never encoded together, so it cannot be used here; it can be evaluated."
        )


def encode_model(model: Model) -> bytes:
    """Return a model as the content of a model file, or of its graph where that is all there is."""
    if isinstance(model, ExportedModel):
        return model.read_content()
    from progeo.models.files import save_model

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_model(path, model)
        return path.read_bytes()


def decode_model(
    content: bytes, where: str, *, trust_remote_code: bool = False, device: str = "cpu", engine: str | None = None
) -> Model:
    """Return the model of ``encode_model``, in evaluation mode; errors call it ``where``."""
    if is_graph(content):
        return open_graph(content, device=device, engine=engine, where=where)
    from progeo.models.files import load_model_file

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(content)
        return load_model_file(path, trust_remote_code=trust_remote_code, device=device, where=where)


def refuse_model(address: str, name: str) -> ProgeoError:
    """Return the error of a model that is not that of a database."""
    return ProgeoError(
        f"The descriptors in {address} are of another model than {name}, or of another image size. Leave out "
        "`model` to go on as before, or give `rebuild` to encode all photos again."
    )


def refuse_frame(address: str) -> ProgeoError:
    """Return the error of a local frame where a database has positions on the earth."""
    return ProgeoError(
        f"The positions of the place database {address} are on the earth, and no database mixes frames. Please make "
        "another one for photos of a local frame."
    )


def describe_model(model: str | Path | Model) -> str:
    """Return what messages call a model."""
    return str(model) if isinstance(model, str | Path) else model.spec.describe()
