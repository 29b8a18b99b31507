from __future__ import annotations

import pytest
import torch
from benchmarks.stage1 import compute_as_progeo, compute_straightforwardly

from progeo.errors import ProgeoError
from progeo.models.backbones.clip import ClipTextTower
from progeo.models.backbones.create import create_image_text_model, find_backbone
from progeo.models.text import TextTower
from progeo.training.methods.prompts import Prompts, PromptTemplate, compute_text_features, find_nearest_words


@pytest.fixture(scope="module")
def text(tiny_clips: dict[str, str]) -> TextTower:
    torch.manual_seed(0)
    return create_image_text_model(find_backbone(tiny_clips["rn"]), "none").text


def test_template_is_read_and_written() -> None:
    template = PromptTemplate.parse("A photo of a X X X X street.")
    assert (template.before, template.count, template.after) == ("A photo of a", 4, "street.")
    assert str(template) == "A photo of a X X X X street."
    assert PromptTemplate.parse("X") == PromptTemplate("", 1, "")


@pytest.mark.parametrize(("text", "places"), [("A photo of a street.", 0), ("X of X X", 2)])
def test_template_needs_one_run_of_learned_tokens(text: str, places: int) -> None:
    with pytest.raises(ProgeoError, match=f"has {places} places for learned tokens, but needs one"):
        PromptTemplate.parse(text)


def test_prompts_stand_between_the_words_of_the_template(text: TextTower) -> None:
    prompts = Prompts(PromptTemplate.parse("A photo of a X X street."), text, 5)
    sequences = prompts(torch.tensor([3, 1]))
    words = text.embed(torch.tensor(text.tokenize("A photo of a street.")))
    torch.testing.assert_close(sequences[0, :5], words[:5])
    torch.testing.assert_close(sequences[0, 5:7], prompts.tokens[3])
    torch.testing.assert_close(sequences[1, 7:], words[5:])


def test_text_features_are_those_of_each_prompt_alone(text: TextTower, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("progeo.training.methods.prompts.TEXTS_AT_ONCE", 2)
    prompts = Prompts(PromptTemplate.parse("A X street."), text, 5)
    features = compute_text_features(prompts, text)
    assert features.shape == (5, text.dimension)
    for number, feature in enumerate(features):
        torch.testing.assert_close(feature, text(prompts(torch.tensor([number])))[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("classes", [2, 7])
def test_a_step_is_that_of_the_formula_written_out(text: TextTower, classes: int) -> None:
    assert isinstance(text, ClipTextTower)
    torch.manual_seed(0)
    prompts = Prompts(PromptTemplate.parse("A photo of a X X X X street."), text, classes)
    images, labels = torch.randn(12, text.dimension), torch.randint(classes, (12,))
    losses, gradients = [], []
    for compute in (compute_straightforwardly, compute_as_progeo):
        prompts.zero_grad()
        losses.append(compute(text, prompts, images, labels))
        losses[-1].backward()  # type: ignore[no-untyped-call]
        assert prompts.tokens.grad is not None
        gradients.append(prompts.tokens.grad.clone())
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=0)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-6)


def test_nearest_words_of_a_word_are_itself(text: TextTower) -> None:
    tokens = torch.tensor(text.tokenize("bridge square")[1:-1])
    assert [words[0] for words in find_nearest_words(text.embed(tokens), text)] == ["bridge", "square"]
