"""What the text loss of ProGEO pulls descriptors towards: made of prompts or of image features, and kept in a file."""

from __future__ import annotations

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from progeo.errors import ProgeoError
from progeo.files import atomic_write
from progeo.models.text import ImageTextModel
from progeo.training.groups import Group, describe_groups
from progeo.training.methods.image_features import Features
from progeo.training.methods.prompt_file import PromptFile
from progeo.training.methods.prompts import Prompts, PromptTemplate, compute_text_features
from progeo.training.phase import Run

TEXT_TARGETS = "text_targets.safetensors"

Targets = list[torch.Tensor]
"""For each group (classes, D), float16, on the CPU."""


def describe_targets(run: Run) -> dict[str, str]:
    """Return what a file of targets belongs to."""
    return {"kind": str(run.settings.text_targets), "groups": describe_groups(run.groups)}


def save_targets(targets: Targets, run: Run) -> Targets:
    """Write the targets to the run folder; return them as they are read again."""
    targets = [target.half().cpu() for target in targets]
    if run.fabric.is_global_zero:
        tensors = {str(number): target.contiguous() for number, target in enumerate(targets)}
        with atomic_write(run.folder / TEXT_TARGETS) as temporary:
            temporary.write_bytes(save(tensors, describe_targets(run)))
    return targets


def load_targets(run: Run) -> Targets:
    """Return the targets that an earlier start has made."""
    path = run.folder / TEXT_TARGETS
    remedy = f"Remove {path}, and it is made anew."
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            if file.metadata() != describe_targets(run):
                raise ProgeoError(f"{path} was made for other `text_targets` or other classes. {remedy}")
            return [file.get_tensor(str(number)) for number in range(len(file.keys()))]
    except (SafetensorError, OSError) as error:
        raise ProgeoError(f"{path} is damaged ({error}). {remedy}") from error


def encode_prompts(file: PromptFile, model: ImageTextModel) -> Targets:
    """Return the text features of the prompts of each group."""
    template = PromptTemplate.parse(file.card["template"])
    targets = []
    for tokens in file.tokens:
        prompts = Prompts(template, model.text, len(tokens))
        prompts.tokens.data.copy_(tokens)
        targets.append(compute_text_features(prompts, model.text))
    return targets


def average_classes(features: Features, groups: list[Group]) -> Targets:
    """Return the mean image feature of each class, over the images that could be read."""
    means = []
    start = 0
    for group in groups:
        share = np.asarray(features[start : start + len(group.images)], dtype=np.float32)
        start += len(group.images)
        readable = ~np.isnan(share[:, :1])
        sums = np.add.reduceat(np.where(readable, share, 0), group.offsets[:-1], axis=0)
        counts = np.add.reduceat(readable, group.offsets[:-1], axis=0, dtype=np.int64)
        means.append(torch.from_numpy(sums / np.maximum(counts, 1)))
    return means


def shuffle(target: torch.Tensor, seed: int, group: int) -> torch.Tensor:
    """Give each class the text of another one: every class the next one's along a random round."""
    order = np.random.default_rng((seed, 2, group)).permutation(len(target))
    shuffled = torch.empty_like(target)
    shuffled[torch.from_numpy(order)] = target[torch.from_numpy(np.roll(order, 1))]
    return shuffled
