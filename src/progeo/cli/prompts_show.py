"""``progeo prompts show``."""

from __future__ import annotations

from dataclasses import dataclass

from jsonargparse.typing import PositiveInt

from progeo.cli.options import REQUIRED, option


@dataclass(kw_only=True)
class ShowPromptsOptions:
    """Prompts"""

    file: str = option(REQUIRED, "learned prompts, such as a run's prompts.safetensors", positional=True)
    words: PositiveInt = option(3, "words of the vocabulary to show for each learned token, nearest first")
    classes: PositiveInt = option(20, "classes to show")
    backbone_weights: str = option("default", "weights of the backbone that the prompts were learned with")


def run(options: ShowPromptsOptions) -> None:
    """Run ``progeo prompts show``."""
    from progeo.training.show_prompts import run_show_prompts

    run_show_prompts(options)
