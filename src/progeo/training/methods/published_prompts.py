"""Prompts of ProGEO's published code: a list of pickled modules, one a group, that says nothing of its classes.

They belong to the classes in the order in which that code lists them: groups by the first of their photos, and within a
group as a Python set of classes gives them, which is the same in every Python since 3.8.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from progeo.console import format_count, logger
from progeo.errors import ProgeoError
from progeo.files import check_file
from progeo.models.text import ImageTextModel
from progeo.training.groups import Group
from progeo.training.methods.prompt_file import KEPT_SETTINGS, PROMPTS, PromptFile
from progeo.training.methods.prompts import PromptTemplate
from progeo.training.settings import PUBLISHED_TEMPLATE, TrainSettings

EXTENSIONS = (".pth", ".pt")
PICKLED = "cosplace_model.cosplace_network_stage1.PromptLearner"
TOKENS = "cls_ctx"


class Pickled:
    """What stands in for a module of the published code, so that its tensors are read and nothing of it runs."""

    _parameters: Mapping[str, Any]


def is_published(prompts: str | None) -> bool:
    """Tell from the name of a file of prompts whether the published code has written it."""
    return prompts is not None and Path(prompts).suffix.lower() in EXTENSIONS


def load_published_prompts(path: str, settings: TrainSettings, groups: list[Group]) -> PromptFile:
    """Read prompts of the published code, and tie them to the classes.

    Args:
        path: what it saves: a list of its modules; or a list of their state dicts, or of their tokens alone.
        settings: of the training.
        groups: the groups in the order of the published code; the first prompts are those of the first group.

    Raises:
        ProgeoError: there is no such file, it holds something else, or prompts of other classes.
    """
    tokens = read_tokens(Path(path))
    count = PromptTemplate.parse(PUBLISHED_TEMPLATE).count
    if settings.prompt_template != PUBLISHED_TEMPLATE:
        raise ProgeoError(
            f"The prompts {path} are of the published code, whose prompt is {PUBLISHED_TEMPLATE!r}: leave out "
            "`prompt_template`."
        )
    if tokens[0].shape[1] != count:
        raise ProgeoError(f"The prompts {path} have {tokens[0].shape[1]} learned tokens each, not {count}.")
    sizes, found = [len(group) for group in groups], [len(one) for one in tokens[: len(groups)]]
    if found != sizes:
        raise ProgeoError(
            f"The prompts {path} are those of other classes: {format_count(len(tokens), 'group')}, the first of "
            f"{', '.join(map(str, found[:8]))} classes, but the training images make groups of "
            f"{', '.join(map(str, sizes[:8]))}. Give the images and settings that they were learned with, or learn "
            "prompts anew (without `prompts`)."
        )
    logger.warning(
        f"The prompts {path} are of the published code and do not say which classes they belong to. They are tied to "
        "them in its order, by the paths of the photos; that of Python 3.7 was another."
    )
    ordered = []
    for group, of_group in zip(groups, tokens, strict=False):
        placed = torch.empty_like(of_group)
        placed[torch.from_numpy(list_classes(group))] = of_group
        ordered.append(placed)
    card = {
        "options": {name: getattr(settings, name) for name in KEPT_SETTINGS},
        "template": settings.prompt_template,
        "model": "",
        "measured": None,
    }
    return PromptFile(ordered, [group.classes for group in groups], card)


def read_tokens(path: Path) -> list[torch.Tensor]:
    """Return the learned tokens of each group, (classes, count, width) float32. No code of the file runs.

    Raises:
        ProgeoError: there is no such file, or it holds something else.
    """
    if not path.is_file():
        raise ProgeoError(f"There are no prompts {path}. Stage 1 writes them as {PROMPTS} into its run folder.")
    try:
        check_file(path)
        with torch.serialization.safe_globals([(Pickled, PICKLED)]):  # type: ignore[list-item]
            content = torch.load(path, map_location="cpu", weights_only=True)
        tokens = [_find_tokens(one) for one in content]
        if not tokens or any(one.shape[1:] != tokens[0].shape[1:] for one in tokens):
            raise ValueError("it has no groups, or groups of different tokens")
    except pickle.UnpicklingError as error:  # whose advice is to run the file's code
        raise ProgeoError(
            f"{path} holds no prompts of ProGEO's code, or is damaged, or holds more than tensors. Stage 1 writes "
            f"{PROMPTS}."
        ) from error
    except Exception as error:  # the reader raises almost anything on a broken file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ProgeoError(
            f"{path} holds no prompts of ProGEO's code, or is damaged ({reason}). Stage 1 writes {PROMPTS}."
        ) from error
    return tokens


def _find_tokens(content: Any) -> torch.Tensor:
    """Return the tokens of one group."""
    if isinstance(content, Pickled):
        content = content._parameters
    if isinstance(content, Mapping):
        content = content[TOKENS]
    if not isinstance(content, torch.Tensor) or not content.is_floating_point() or content.dim() != 3:
        raise ValueError(f"its tokens are {type(content).__name__}, not numbers (classes, count, width)")
    tokens = content.detach().float()
    if not len(tokens) or not bool(tokens.isfinite().all()):
        raise ValueError("its tokens are no numbers")
    return tokens


def check_width(prompts: PromptFile, path: str, model: ImageTextModel) -> None:
    """Raise ProgeoError unless the tokens have the width that the model's text tower reads."""
    width = prompts.tokens[0].shape[2]
    if width != model.text.width:
        raise ProgeoError(
            f"The prompts {path} have tokens of {width} numbers, but {model.name} reads {model.text.width}: give the "
            "`backbone` that they were learned with."
        )


def list_classes(group: Group) -> npt.NDArray[np.int64]:
    """Return the classes of a group in the order of the published code, which puts them into a set as photos come."""
    numbers = {tuple(map(int, row)): number for number, row in enumerate(group.classes)}
    by_photo = np.argsort(group.images[group.offsets[:-1]], kind="stable")
    rows = group.classes.tolist()
    classes = set()
    for number in by_photo:
        classes.add(tuple(rows[number]))
    return np.array([numbers[one] for one in classes], dtype=np.int64)
