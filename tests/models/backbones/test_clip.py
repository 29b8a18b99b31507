"""CLIP's towers: the numbers of the published ProGEO, and what can be wrong with weights and sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.transformer import QuickGELU
from safetensors.torch import load_file, save_file

from progeo.errors import ProgeoError
from progeo.models.backbones.clip import ClipModel, interpolate_positions
from progeo.models.backbones.create import create_backbone, create_image_text_model, find_backbone
from progeo.models.building import create_model
from progeo.models.files import load_model_file
from progeo.models.images import normalize
from progeo.models.network import PlaceNetwork
from progeo.pixels.recipe import Preprocessing
from progeo.training.losses import (
    CosFaceClassifier,
    compare_with_texts,
    contrast_images_and_texts,
    weighted_soft_margin_triplet,
)
from progeo.training.methods.prompts import Prompts, PromptTemplate

KINDS = ("rn", "vit")
TEMPLATE = PromptTemplate.parse("A photo of a X X X X street.")

Golden = dict[str, Any]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture()
def golden(parity_dir: Path, kind: str) -> Golden:
    return dict(np.load(parity_dir / f"progeo_{kind}.npz"))


def normalized(golden: Golden, name: str = "images") -> torch.Tensor:
    return normalize(torch.from_numpy(golden[name]), Preprocessing())


def create_stage2_network(kind: str, golden: Golden, backbone: str, weights: Path) -> PlaceNetwork:
    network = create_model(backbone, descriptor_dim=48, weights=str(weights))
    network.set_image_size(64)
    if kind == "rn":
        network.aggregation[3].weight.data = torch.from_numpy(golden["fc_weight"])
        network.aggregation[3].bias.data = torch.from_numpy(golden["fc_bias"])
    return network


def assert_same(values: torch.Tensor, expected: Any, tolerance: float = 1e-5) -> None:
    """The largest deviation is small beside the largest value."""
    deviation = np.abs(values.detach().double().numpy() - expected).max()
    assert deviation <= tolerance * np.abs(expected).max()


@pytest.fixture()
def stage1(
    kind: str, golden: Golden, tiny_clips: dict[str, str], tiny_clip_weights: dict[str, Path]
) -> tuple[Any, Prompts]:
    model = create_image_text_model(find_backbone(tiny_clips[kind]), str(tiny_clip_weights[kind]))
    prompts = Prompts(TEMPLATE, model.text, 5)
    prompts.tokens.data.copy_(torch.from_numpy(golden["cls_ctx"]))
    return model, prompts


def test_stage1_is_as_published(golden: Golden, stage1: tuple[Any, Prompts]) -> None:
    model, prompts = stage1
    labels = torch.from_numpy(golden["labels"])
    image_features = model.image_features(normalized(golden))
    assert_same(image_features, golden["stage1_image_features"])
    assert_same(model.text(prompts(labels)), golden["stage1_text_features"])
    classes, positions = labels.unique(return_inverse=True)
    losses = contrast_images_and_texts(image_features.detach(), model.text(prompts(classes)), positions)
    for loss, direction in zip(losses, ("i2t", "t2i"), strict=True):
        assert_same(loss, golden[f"stage1_loss_{direction}"])
    sum(losses).backward()  # type: ignore[union-attr]
    assert_same(prompts.tokens.grad, golden["stage1_grad_cls_ctx"], 1e-4)  # type: ignore[arg-type]


def test_cutting_after_the_end_token_changes_nothing(stage1: tuple[Any, Prompts]) -> None:
    model, prompts = stage1
    short = prompts(torch.arange(5))
    assert short.shape == (5, 12, 64)
    padding = model.text.embed(torch.zeros(5, 77 - 12, dtype=torch.int64))
    sequences = torch.cat([short, padding], dim=1) + model.text.positional_embedding
    outputs = model.text.transformer(sequences, attn_mask=model.text.attn_mask)
    whole = model.text.ln_final(outputs[:, 11]) @ model.text.text_projection
    torch.testing.assert_close(model.text(short), whole, rtol=1e-5, atol=1e-6)


def test_stage2_is_as_published(
    kind: str, golden: Golden, tiny_clips: dict[str, str], tiny_clip_weights: dict[str, Path]
) -> None:
    # In float64: batch normalisation over so few pixels, and the distance of an anchor to itself, which is the root of
    # a rounding error, magnify what float32 leaves.
    network = create_stage2_network(kind, golden, tiny_clips[kind], tiny_clip_weights[kind])
    network.eval()
    assert_same(network(normalized(golden)), golden["stage2_descriptors_eval"])
    if kind == "rn":
        assert_same(network(normalized(golden, "images_96x128")), golden["stage2_descriptors_eval_96x128"])
    network.train().double()
    labels = torch.from_numpy(golden["labels"])
    classifier = CosFaceClassifier(48, 5).double()
    classifier.weight.data = torch.from_numpy(golden["classifier_weight"]).double()
    descriptors = network(normalized(golden).double())
    assert_same(descriptors, golden["stage2_descriptors_train"])
    logits = classifier(descriptors, labels)
    assert_same(logits, golden["stage2_cosface_logits"])
    losses = {
        "cosface": torch.nn.functional.cross_entropy(logits, labels),
        "i2t": compare_with_texts(descriptors, torch.from_numpy(golden["stage2_text_features"]), labels),
        "triplet_times_batch": len(labels) * weighted_soft_margin_triplet(descriptors, labels),
    }
    for name in ("cosface", "i2t"):
        assert_same(losses[name], golden[f"stage2_loss_{name}"])
    of_stored = weighted_soft_margin_triplet(torch.from_numpy(golden["stage2_descriptors_train"]), labels)
    assert_same(len(labels) * of_stored, golden["stage2_loss_triplet_times_batch"])
    sum(losses.values()).backward()  # type: ignore[union-attr]
    norms = dict(zip(golden["stage2_grad_norm_names"].tolist(), golden["stage2_grad_norms"], strict=True))
    found = {name: p.grad.norm().item() for name, p in network.named_parameters() if p.grad is not None}
    assert found.keys() == norms.keys()
    for name, norm in norms.items():
        assert found[name] == pytest.approx(norm, rel=1e-4), name
    assert_same(classifier.weight.grad, golden["stage2_grad_classifier"], 1e-4)  # type: ignore[arg-type]


def test_published_checkpoints_load(
    kind: str, golden: Golden, tiny_clips: dict[str, str], tiny_clip_weights: dict[str, Path], tmp_path: Path
) -> None:
    network = create_stage2_network(kind, golden, tiny_clips[kind], tiny_clip_weights[kind]).eval()
    trainable = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert sorted(trainable) == sorted(golden["trainable"].tolist())
    content = network.state_dict()
    assert len(content) > 30
    for line in golden["state_dict_keys"].tolist():  # "name (sizes)", the text tower's among them
        name, _, sizes = line.partition(" ")
        shape = tuple(int(size) for size in sizes.strip("()").split(",") if size.strip())
        if name in content:
            assert content[name].shape == shape
        else:
            assert name.startswith(("token_embedding.", "text_encoder."))
            content[name] = torch.zeros(1)
    assert len(content) == len(golden["state_dict_keys"])
    torch.save(content, tmp_path / "best_model.pth")
    loaded = load_model_file(tmp_path / "best_model.pth", backbone=tiny_clips[kind], descriptor_dim=48)
    torch.testing.assert_close(loaded(normalized(golden)), network(normalized(golden)))


def test_positional_embeddings_are_interpolated_as_published(
    parity_dir: Path, tiny_clip_weights: dict[str, Path]
) -> None:
    embeddings = load_file(tiny_clip_weights["vit"])["visual.positional_embedding"]
    assert_same(interpolate_positions(embeddings, (8, 8)), np.load(parity_dir / "progeo_vit.npz")["pos_embed_128px"])


def test_a_transformer_trained_at_one_size_describes_others(tiny_clips: dict[str, str], tmp_path: Path) -> None:
    network = create_model(tiny_clips["vit"], weights="none").eval()
    network.set_image_size(128)
    assert network(torch.rand(2, 3, 100, 70)).shape == (2, 48)
    torch.save(network.state_dict(), tmp_path / "trained.pth")
    loaded = load_model_file(tmp_path / "trained.pth", backbone=tiny_clips["vit"], descriptor_dim=48)
    images = torch.rand(1, 3, 128, 128)
    torch.testing.assert_close(loaded(images), network(images))


@pytest.mark.parametrize(("weights", "gelu"), [("laion400m_e32", QuickGELU), ("laion2b_e16", torch.nn.GELU)])
def test_weights_bring_their_own_gelu(weights: str, gelu: type[torch.nn.Module]) -> None:
    with torch.device("meta"):
        network = find_backbone(f"open_clip:ViT-B-32:{weights}").build(False)
    assert any(isinstance(module, gelu) for module in network.modules())


def test_image_size_must_be_a_multiple_of_the_patch(tiny_clips: dict[str, str]) -> None:
    network = create_model(tiny_clips["vit"], weights="none")
    with pytest.raises(ProgeoError, match=r"`image_size` 100 is no multiple of 16.*`image_size` 96"):
        network.set_image_size(100)


def test_a_transformer_has_its_own_dimension(tiny_clips: dict[str, str]) -> None:
    with pytest.raises(ProgeoError, match="gives descriptors of 48 dimensions .*: use `descriptor_dim` 48"):
        create_model(tiny_clips["vit"], descriptor_dim=64, weights="none")


def test_freezing(tiny_clips: dict[str, str]) -> None:
    def frozen(backbone: str, **options: Any) -> set[str]:
        backbone_module = create_backbone(find_backbone(backbone), weights="none", **options)
        return {name.split(".")[0] for name, p in backbone_module.named_parameters() if not p.requires_grad}

    assert "layer3" not in frozen(tiny_clips["rn"]) and "layer2" in frozen(tiny_clips["rn"])
    assert "layer1" not in frozen(tiny_clips["rn"], frozen_stages=0) and "conv1" in frozen(
        tiny_clips["rn"], frozen_stages=0
    )
    assert frozen(tiny_clips["vit"], frozen_stages=0) == {"conv1", "ln_pre"}
    assert frozen(tiny_clips["vit"], train_all_layers=True) == set()


def test_weights_come_in_openai_archives_and_open_clip_checkpoints(
    kind: str, tiny_clips: dict[str, str], tiny_clip_weights: dict[str, Path], tmp_path: Path
) -> None:
    tensors = load_file(tiny_clip_weights[kind])
    numbers = {name: torch.tensor(64) for name in ("input_resolution", "context_length", "vocab_size")}
    torch.save(
        {"state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}}, tmp_path / "open_clip.pt"
    )
    holder = torch.nn.Module()
    for name, tensor in (tensors | numbers).items():
        parent = holder
        *path, leaf = name.split(".")
        for part in path:
            if part not in dict(parent.named_children()):
                parent.add_module(part, torch.nn.Module())
            parent = parent.get_submodule(part)
        parent.register_buffer(leaf, tensor)
    torch.jit.script(holder).save(str(tmp_path / "openai.pt"))  # type: ignore[no-untyped-call]
    entry = find_backbone(tiny_clips[kind])
    expected = create_backbone(entry, weights=str(tiny_clip_weights[kind])).state_dict()
    for path in (str(tmp_path / "open_clip.pt"), str(tmp_path / "openai.pt")):
        model = create_image_text_model(entry, path)
        assert isinstance(model, ClipModel)
        for found in (create_backbone(entry, weights=path), model.visual):
            assert all(torch.equal(tensor, expected[name]) for name, tensor in found.state_dict().items())


def test_weights_of_another_architecture_are_refused(
    tiny_clips: dict[str, str], tiny_clip_weights: dict[str, Path]
) -> None:
    with pytest.raises(ProgeoError, match=r"rn\.safetensors are not those of backbone open_clip:progeo-tiny-vit"):
        create_image_text_model(find_backbone(tiny_clips["vit"]), str(tiny_clip_weights["rn"]))
    with pytest.raises(ProgeoError, match="there is no such file"):
        create_image_text_model(find_backbone(tiny_clips["vit"]), "missing.pt")


def test_a_file_of_the_image_tower_alone_is_no_image_text_model(
    tiny_clips: dict[str, str], tiny_clip_weights: dict[str, Path], tmp_path: Path
) -> None:
    visual = {n: t for n, t in load_file(tiny_clip_weights["rn"]).items() if n.startswith("visual.")}
    save_file(visual, tmp_path / "visual.safetensors")
    create_backbone(find_backbone(tiny_clips["rn"]), weights=str(tmp_path / "visual.safetensors"))
    with pytest.raises(ProgeoError, match=r"missing: .*token_embedding|missing: .*positional_embedding"):
        create_image_text_model(find_backbone(tiny_clips["rn"]), str(tmp_path / "visual.safetensors"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("open_clip:RN5", r"no model 'RN5' \(did you mean RN50"),
        ("open_clip:RN50:laion", "no weights 'laion' of RN50. It has: openai"),
        ("open_clip:coca_ViT-B-32", "other towers than OpenAI's"),
        ("open_clip:ViT-L-14-CLIPA", "other towers than OpenAI's"),
        ("open_clip:ViT-L-14-worldwide", "other towers than OpenAI's"),
        ("ResNet18", "no text tower"),
    ],
)
def test_what_is_no_usable_clip_is_named(name: str, message: str) -> None:
    with pytest.raises(ProgeoError, match=message):
        create_image_text_model(find_backbone(name), "none")


def test_words_belong_to_the_tokens(tiny_clips: dict[str, str]) -> None:
    text = create_image_text_model(find_backbone(tiny_clips["rn"]), "none").text
    words = text.words()
    assert [words.get(token) for token in text.tokenize("a photo.")] == [None, "a", "photo", None, None]
