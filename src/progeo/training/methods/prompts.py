"""Prompts: a sentence with learned tokens in it, one set of them for every class.

Source: Mao and Hu, "ProGEO: Generating Prompts through Image-Text Contrastive Learning for Visual Geo-localization",
ICANN 2024: four learned tokens X in "A photo of a X X X X street.".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from progeo.errors import ProgeoError
from progeo.models.text import TextTower

INITIAL_DEVIATION = 0.02
TEXTS_AT_ONCE = 256


@dataclass(frozen=True)
class PromptTemplate:
    """A sentence with a run of learned tokens: the words before it, how many there are, the words after it."""

    before: str
    count: int
    after: str

    @classmethod
    def parse(cls, text: str) -> PromptTemplate:
        """Read a template such as ``A photo of a X X X X street.``, each X a learned token.

        Raises:
            ProgeoError: there is no X, or there are several runs of them.
        """
        runs = list(re.finditer(r"\bX(?: X)*\b", text))
        if len(runs) != 1:
            raise ProgeoError(
                f"`prompt_template` {text!r} has {len(runs)} places for learned tokens, but needs one: write an X for "
                "each token, side by side, as in 'A photo of a X X X X street.'"
            )
        start, end = runs[0].span()
        return cls(text[:start].strip(), runs[0][0].count("X"), text[end:].strip())

    def check_length(self, text: TextTower) -> None:
        """Raise ProgeoError if a prompt of this template has more tokens than ``text`` reads."""
        # Both halves are tokenized with a start and an end, of which a prompt has one each.
        length = len(text.tokenize(self.before)) + self.count + len(text.tokenize(self.after)) - 2
        if length > text.longest:
            raise ProgeoError(
                f"`prompt_template`: with {self.count} learned tokens a prompt has {length} tokens, but the text tower "
                f"reads {text.longest}. Write fewer X, or fewer words."
            )

    def __str__(self) -> str:
        """Return the template as ``parse`` takes it."""
        return " ".join(filter(None, (self.before, *["X"] * self.count, self.after)))


class Prompts(nn.Module):
    """The prompts of some classes: their learned tokens, and the fixed ones around them.

    Attributes:
        tokens: (classes, count, width), learned; drawn from a normal distribution of deviation 0.02.
    """

    before: torch.Tensor
    after: torch.Tensor

    def __init__(self, template: PromptTemplate, text: TextTower, classes: int) -> None:
        """Draw new tokens, and embed the words of the template as ``text`` does."""
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(classes, template.count, text.width) * INITIAL_DEVIATION)
        for name, words, ids in (("before", template.before, slice(0, -1)), ("after", template.after, slice(1, None))):
            tokens = torch.tensor(text.tokenize(words)[ids], device=next(text.parameters()).device)
            with torch.no_grad():
                self.register_buffer(name, text.embed(tokens).float().cpu(), persistent=False)

    def forward(self, classes: torch.Tensor) -> torch.Tensor:
        """Return the sequences of embeddings (B, L, width) of ``classes`` (B,), int64."""
        before = self.before.expand(len(classes), -1, -1)
        after = self.after.expand(len(classes), -1, -1)
        return torch.cat([before, self.tokens[classes], after], dim=1)


@torch.no_grad()
def compute_text_features(prompts: Prompts, text: TextTower) -> torch.Tensor:
    """Return the text features (classes, dimension), float32 on the device of ``text``, of all prompts."""
    device = next(text.parameters()).device
    prompts = prompts.to(device)
    starts = range(0, len(prompts.tokens), TEXTS_AT_ONCE)
    chunks = [torch.arange(start, min(start + TEXTS_AT_ONCE, len(prompts.tokens)), device=device) for start in starts]
    return torch.cat([text(prompts(chunk)).float() for chunk in chunks])


def find_nearest_words(tokens: torch.Tensor, text: TextTower, count: int = 3) -> list[list[str]]:
    """Return for each learned token (T, width) the ``count`` words of the vocabulary nearest to it, by cosine."""
    ids, words = zip(*sorted(text.words().items()), strict=True)
    with torch.no_grad():
        embeddings = F.normalize(text.embed(torch.tensor(ids)).float(), dim=1)
    nearest = (F.normalize(tokens, dim=1) @ embeddings.T).topk(count, dim=1).indices
    return [[words[index] for index in row] for row in nearest.tolist()]
