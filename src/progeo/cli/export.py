"""``progeo export``: a model as one graph, for programs without PyTorch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from jsonargparse.typing import PositiveInt

from progeo.cli.options import REQUIRED, TrustOptions, option
from progeo.cli.spelling import say


@dataclass(kw_only=True)
class ExportOptions(TrustOptions):
    """Export"""

    model: str = option(
        REQUIRED, "the model: a file, or a published one such as cosplace:ResNet50:2048", positional=True
    )
    output: str = option(
        REQUIRED, "the graph: a file .onnx, or .xml for OpenVINO, which has a .bin beside it", positional=True
    )
    image_size: PositiveInt | None = option(
        None, "shorter side in pixels that photos are brought to; without it the model's own"
    )
    square: bool = option(
        False,
        "photos become squares: for models that can be exported for one size only, as vision transformers. It changes "
        "the descriptors, so the graph is a model of its own",
    )
    backbone: str | None = option(None, "backbone of a published .pth file")
    fc_output_dim: PositiveInt | None = option(None, "descriptor dimension of a published .pth file")


def run(options: ExportOptions) -> None:
    """Write the graph, compare it with PyTorch, and say what was written."""
    from progeo.models.export import export_model
    from progeo.models.published import load_network

    network = load_network(
        options.model,
        trust_remote_code=options.trust_remote_code,
        backbone=options.backbone,
        descriptor_dim=options.fc_output_dim,
    )
    if options.image_size is not None:
        network.set_image_size(options.image_size)
    if options.square:
        network.preprocessing = dataclasses.replace(network.preprocessing, square=True)
    card = export_model(network, options.output)
    sizes = "any size" if card.size is None else f"{card.size[1]} x {card.size[0]} px"
    say(
        f"{options.output}: {card.spec.describe()}; takes photos of {sizes}; it gives what PyTorch gives. A photo and "
        "its descriptor, to compare with, are beside it."
    )
