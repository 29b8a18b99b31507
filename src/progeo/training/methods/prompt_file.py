"""The file of learned prompts: tokens, the classes they belong to, and what they were learned with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from progeo.console import format_count
from progeo.errors import ProgeoError
from progeo.files import atomic_write, check_file
from progeo.models.fingerprint import fingerprint_model
from progeo.models.text import ImageTextModel
from progeo.plain import parse_json, read_value
from progeo.training.groups import Group
from progeo.training.methods.prompts import PromptTemplate
from progeo.training.settings import TrainSettings
from progeo.training.state import list_differences

PROMPTS = "prompts.safetensors"
FORMAT_VERSION = 1

# What prompts depend on: with other values they belong to other classes, or to other texts.
KEPT_SETTINGS = ("backbone", "prompt_template", "M", "alpha", "N", "L", "groups_num", "min_images_per_class")
NEEDED_OF_CARD = {"options": dict[str, Any], "template": str, "model": str, "measured": dict[str, Any] | None}


@dataclass(frozen=True)
class PromptFile:
    """Learned prompts.

    Attributes:
        tokens: for each group (classes, count, width) float32.
        classes: for each group (classes, 3) int64, lower corner of each class: UTM east, north, heading; of places
            (classes, 1), the number of each.
        card: the options, the template, the fingerprint of the model, and what was measured.
    """

    tokens: list[torch.Tensor]
    classes: list[npt.NDArray[np.int64]]
    card: dict[str, Any]


def save_prompts(path: Path, tokens: list[torch.Tensor], groups: list[Group], card: dict[str, Any]) -> None:
    """Write the tokens of all groups as safetensors, with the class ids and the card."""
    tensors = {f"tokens.{number}": group.detach().cpu().contiguous() for number, group in enumerate(tokens)}
    tensors |= {f"classes.{number}": torch.from_numpy(group.classes) for number, group in enumerate(groups)}
    metadata = {"format_version": str(FORMAT_VERSION), "card": json.dumps(card)}
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(tensors, metadata))


def load_prompts(path: str | Path) -> PromptFile:
    """Read a file of ``save_prompts``.

    Raises:
        ProgeoError: it is missing, damaged, or holds no prompts.
    """
    path = Path(path)
    if not path.is_file():
        raise ProgeoError(f"There are no prompts {path}. Stage 1 writes them as {PROMPTS} into its run folder.")
    try:
        check_file(path)
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata["format_version"] != str(FORMAT_VERSION):
            raise ValueError(f"format {metadata['format_version']}, this version reads {FORMAT_VERSION}")
        card = read_value(dict[str, Any], parse_json(metadata["card"]), "card")
        if missing := [name for name in NEEDED_OF_CARD if name not in card]:
            raise KeyError(", ".join(missing))
        for name, kind in NEEDED_OF_CARD.items():
            read_value(kind, card[name], name)
        numbers = range(-(-len(tensors) // 2))
        tokens = [_to_float(tensors[f"tokens.{number}"]) for number in numbers]
        classes = [tensors[f"classes.{number}"].numpy() for number in numbers]
        shape = (PromptTemplate.parse(card["template"]).count, tokens[0].shape[-1])
        for group, rows in zip(tokens, classes, strict=True):
            if tuple(group.shape) != (len(rows), *shape) or rows.shape[1:] not in ((3,), (1,)):
                raise ValueError(f"tokens {tuple(group.shape)} of classes {rows.shape}")
            if not bool(group.isfinite().all()) or rows.dtype != np.int64:
                raise ValueError("its tokens or classes are no numbers")
        return PromptFile(tokens, classes, card)
    except (SafetensorError, ProgeoError, OSError, LookupError, TypeError, ValueError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ProgeoError(
            f"{path} holds no prompts of this program, or is damaged ({reason}). Stage 1 writes {PROMPTS}."
        ) from error


def _to_float(tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.is_floating_point():
        raise ValueError(f"its tokens are {tensor.dtype}")
    return tensor.float()


def check_prompts(prompts: PromptFile, path: str | Path, settings: TrainSettings, groups: list[Group]) -> None:
    """Raise ProgeoError, saying what differs, unless the prompts were learned for these groups and this backbone."""
    different = list_differences(prompts.card["options"], {name: getattr(settings, name) for name in KEPT_SETTINGS})
    if different:
        raise ProgeoError(
            f"The prompts {path} were learned with {', '.join(different)}. Give the same options, or learn prompts "
            "anew (without `prompts`)."
        )
    if len(prompts.classes) != len(groups):
        raise ProgeoError(
            f"The prompts {path} are those of {format_count(len(prompts.classes), 'group')}, not of {len(groups)}. The "
            "training images have changed since; learn prompts anew (without `prompts`)."
        )
    for number, (classes, group) in enumerate(zip(prompts.classes, groups, strict=True)):
        if not np.array_equal(classes, group.classes):
            now, then = ({tuple(row) for row in rows} for rows in (group.classes.tolist(), classes.tolist()))
            raise ProgeoError(
                f"The prompts {path} are those of other classes: of the {len(now)} classes of group {number}, "
                f"{len(now - then)} have no prompt, and {len(then - now)} prompts have no class. The training images "
                "have changed since; learn prompts anew (without `prompts`)."
            )


def check_weights(prompts: PromptFile, path: str | Path, model: ImageTextModel) -> None:
    """Raise ProgeoError unless the prompts were learned with the weights of ``model``."""
    if prompts.card["model"] != fingerprint_model(model):
        raise ProgeoError(
            f"The prompts {path} were learned with other weights of {model.name}: their tokens mean nothing to these. "
            "Give the same `backbone_weights`, or learn prompts anew."
        )
