"""The one door to any model, and its descriptors of photos. A graph needs no PyTorch; a network loads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from progeo.errors import ProgeoError
from progeo.models.engines.graphs import ExportedModel, is_graph, open_graph

if TYPE_CHECKING:
    import torch

    from progeo.models.network import PlaceNetwork
    from progeo.pixels.recipe import Source


def load_model(
    name_or_path: str | Path,
    *,
    device: torch.device | str = "cpu",
    trust_remote_code: bool = False,
    backbone: str | None = None,
    descriptor_dim: int | None = None,
    fc_output_dim: int | None = None,
) -> PlaceNetwork | ExportedModel:
    """Load a model in evaluation mode.

    Args:
        name_or_path: a published model like ``cosplace:ResNet50:2048`` or ``megaloc`` (see ``list_models``), a model
            of the Hugging Face Hub like ``hf:OWNER/NAME@REVISION``, a model file of progeo, a state dict, a backbone
            like ``ResNet18``, which is then a model without training, or a graph of ``progeo export``.
        device: where it will be: ``cpu``, ``cuda``, ``mps`` or ``auto``.
        trust_remote_code: let models of torch.hub run their own code.
        backbone: needed for a state dict, which does not say it (see ``load_model_file``).
        descriptor_dim: likewise.
        fc_output_dim: the same, as it is called where it was published.

    Raises:
        ProgeoError: there is no such model, or the file is not one, or not the one asked for.
    """
    descriptor_dim = fc_output_dim if descriptor_dim is None else descriptor_dim
    name = str(name_or_path)
    if is_graph(name):
        if backbone is not None or descriptor_dim is not None:
            raise ProgeoError(f"{name} is a graph, which says what it is: leave out `backbone` and `descriptor_dim`.")
        return open_graph(name, device=str(device))
    from progeo.models.published import load_network

    return load_network(
        name, device=device, trust_remote_code=trust_remote_code, backbone=backbone, descriptor_dim=descriptor_dim
    )


def encode(
    model: PlaceNetwork | ExportedModel | str | Path,
    photos: Source | Sequence[Source],
    *,
    device: torch.device | str | None = None,
    batch_size: int = 16,
    num_workers: int | None = None,
    progress: bool = False,
    output: Literal["numpy", "torch"] = "numpy",
    trust_remote_code: bool = False,
) -> Any:
    """Return the descriptors of photos, as ``PlaceNetwork.encode`` does; ``model`` may be what ``load_model`` takes."""
    loaded = load_model(model, trust_remote_code=trust_remote_code) if isinstance(model, str | Path) else model
    return loaded.encode(
        photos, device=device, batch_size=batch_size, num_workers=num_workers, progress=progress, output=output
    )
