"""What learned prompts say, as far as words can: the words of the vocabulary nearest to each learned token."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from progeo.cli.prompts_show import ShowPromptsOptions
from progeo.models.backbones.create import create_image_text_model, find_backbone
from progeo.training.methods.prompt_file import check_weights, load_prompts
from progeo.training.methods.prompt_learning import describe_measure
from progeo.training.methods.prompts import PromptTemplate, find_nearest_words


def run_show_prompts(options: ShowPromptsOptions) -> None:
    """Run ``progeo prompts show``: print a table to stdout."""
    file = load_prompts(options.file)
    backbone = file.card["options"]["backbone"]
    model = create_image_text_model(find_backbone(backbone), options.backbone_weights)
    check_weights(file, options.file, model)
    console = Console()
    console.print(f"{backbone}, {file.card['template']!r}. {describe_measure(file.card['measured'])}.", highlight=False)
    table = Table("east", "north", "heading", title="Words nearest to the learned tokens, by cosine")
    for number in range(PromptTemplate.parse(file.card["template"]).count):
        table.add_column(f"token {number + 1}")
    rows = [row for group in zip(file.classes, file.tokens, strict=True) for row in zip(*group, strict=True)]
    for place, tokens in rows[: options.classes]:
        words = [" ".join(nearest) for nearest in find_nearest_words(tokens, model.text, options.words)]
        table.add_row(*map(str, place.tolist()), *words)
    console.print(table)
    if len(rows) > options.classes:
        console.print(f"{len(rows) - options.classes} more classes: `classes` {len(rows)} shows all")
