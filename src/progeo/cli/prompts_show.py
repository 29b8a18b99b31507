"""``progeo prompts show``: what learned prompts say, as far as the words nearest to each learned token can tell."""

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
    """Run ``progeo prompts show``: print a table to stdout."""
    from rich.console import Console
    from rich.table import Table

    from progeo.models.backbones.create import create_image_text_model, find_backbone
    from progeo.training.methods.prompt_file import check_weights, load_prompts
    from progeo.training.methods.prompt_learning import describe_measure
    from progeo.training.methods.prompts import PromptTemplate, find_nearest_words

    file = load_prompts(options.file)
    backbone = file.card["options"]["backbone"]
    model = create_image_text_model(find_backbone(backbone), options.backbone_weights)
    check_weights(file, options.file, model)
    console = Console()
    console.print(f"{backbone}, {file.card['template']!r}. {describe_measure(file.card['measured'])}.", highlight=False)
    columns = ("east", "north", "heading") if file.classes[0].shape[1] == 3 else ("place",)
    table = Table(*columns, title="Words nearest to the learned tokens, by cosine")
    for number in range(PromptTemplate.parse(file.card["template"]).count):
        table.add_column(f"token {number + 1}")
    rows = [row for group in zip(file.classes, file.tokens, strict=True) for row in zip(*group, strict=True)]
    for place, tokens in rows[: options.classes]:
        words = [" ".join(nearest) for nearest in find_nearest_words(tokens, model.text, options.words)]
        table.add_row(*map(str, place.tolist()), *words)
    console.print(table)
    if len(rows) > options.classes:
        console.print(f"{len(rows) - options.classes} more classes: --classes {len(rows)} shows all")
