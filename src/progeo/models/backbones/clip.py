"""CLIP's towers, from open_clip: the image towers as backbones, and both together for prompt learning.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, with the
weights of OpenAI. The parameters keep their names, so that published ProGEO checkpoints load.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn

from progeo.errors import ProgeoError, suggest
from progeo.models.backbones.registry import BackboneEntry, Stages, register_backbone
from progeo.models.features import Features, FeatureShapes, map_shapes
from progeo.models.text import ImageTextModel, TextTower
from progeo.models.weights import build_network
from progeo.pixels.recipe import Preprocessing

ARCHITECTURES = {
    "CLIP-RN50": "RN50",
    "CLIP-RN101": "RN101",
    "CLIP-ViT-B-16": "ViT-B-16",
    "CLIP-ViT-B-32": "ViT-B-32",
}
"""The backbones of ProGEO and their names in open_clip."""

TEXT_TENSORS = ("token_embedding.", "positional_embedding", "transformer.", "ln_final.", "text_projection")
OTHER_TENSORS = ("logit_scale", "logit_bias")
OPENAI_NUMBERS = ("input_resolution", "context_length", "vocab_size")
"""What OpenAI's files hold beside the weights."""

KNOWN_SETTINGS = {
    "vision_cfg": {"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio", "ls_init_value"},
    "text_cfg": {"context_length", "vocab_size", "width", "heads", "layers"},
}
"""What open_clip says of towers that are built as OpenAI's are; others have more to say (pooling, tokenizers)."""

OTHER_TOWERS = (
    "The backbone {name} has other towers than OpenAI's ResNets and vision transformers, and cannot be used. "
    "Choose a model of open_clip that is named after a ResNet (RN50) or a transformer (ViT-B-16)."
)


class ClipResNet(nn.Module):
    """The ResNet of CLIP: its last feature map, as stage 2 uses it, or CLIP's own feature of the whole image."""

    attnpool: nn.Module

    def __init__(self, visual: nn.Module) -> None:
        """Take over the layers of open_clip's ``ModifiedResNet``."""
        super().__init__()
        for name, layer in visual.named_children():
            self.add_module(name, layer)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the feature map (B, C, H / 32, W / 32) of normalised images (B, 3, H, W)."""
        features = images
        for name, layer in self.named_children():
            if name != "attnpool":
                features = layer(features)
        return features

    def pool(self, images: torch.Tensor) -> torch.Tensor:
        """Return CLIP's own features (B, D): the attention pool of the feature map, for images of CLIP's size."""
        return cast(torch.Tensor, self.attnpool(self(images)))

    def fit_positions(self, count: int) -> None:
        """Make room for ``count`` positional embeddings in the attention pool, interpolated from those there."""
        _fit_positions(self.attnpool, _square_grid(count))

    def stages(self) -> Stages:
        """Return the four layers, the attention pool with the last."""
        layers = [[self.get_submodule(f"layer{number}")] for number in range(1, 5)]
        return [*layers[:-1], [*layers[-1], self.attnpool]]

    def frozen(self, stages: int) -> Iterable[nn.Parameter]:
        """Return the parameters up to and including layer ``stages``; 0 is the stem alone."""
        for name, layer in self.named_children():
            if name == f"layer{stages + 1}":
                return
            yield from layer.parameters()


class ClipVisionTransformer(nn.Module):
    """The vision transformer of CLIP: the projected class token, for images of any size.

    The positional embeddings are kept for one size, that of training, and interpolated for others.
    """

    conv1: nn.Conv2d
    ln_pre: nn.Module
    transformer: nn.Module
    ln_post: nn.Module
    class_embedding: nn.Parameter
    positional_embedding: nn.Parameter
    proj: nn.Parameter

    def __init__(self, visual: nn.Module) -> None:
        """Take over the layers and parameters of open_clip's ``VisionTransformer``."""
        super().__init__()
        for name, layer in visual.named_children():
            self.add_module(name, layer)
        for name, parameter in visual.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        self.patch_size = int(self.conv1.kernel_size[0])

    def forward(self, images: torch.Tensor) -> Features:
        """Return the patches' features (width) and the projected class token (D) of normalised images (B, 3, H, W).

        Sides that are no multiple of the patch are brought to the nearest one.
        """
        grid = [max(1, round(side / self.patch_size)) for side in map(int, images.shape[-2:])]
        size = [side * self.patch_size for side in grid]
        if list(images.shape[-2:]) != size:
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        patches = self.conv1(images).flatten(2).transpose(1, 2)
        class_tokens = self.class_embedding.to(patches.dtype).expand(images.shape[0], 1, -1)
        positions = interpolate_positions(self.positional_embedding, (grid[0], grid[1]))
        tokens = self.ln_pre(torch.cat([class_tokens, patches], dim=1) + positions.to(patches.dtype))
        tokens = self.ln_post(self.transformer(tokens))
        patches = tokens[:, 1:]
        return Features(
            map=patches.transpose(1, 2).unflatten(2, (grid[0], grid[1])), tokens=patches, cls=tokens[:, 0] @ self.proj
        )

    def pool(self, images: torch.Tensor) -> torch.Tensor:
        """Return CLIP's own features (B, D), not normalised."""
        return cast(torch.Tensor, self(images).cls)

    def fit_positions(self, count: int) -> None:
        """Keep ``count`` positional embeddings, of a square grid and the class token, interpolated from those there."""
        _fit_positions(self, _square_grid(count))

    def stages(self) -> Stages:
        """Return the blocks, what follows them with the last."""
        *blocks, last = self.get_submodule("transformer.resblocks").children()
        return [*([block] for block in blocks), [last, self.ln_post, self.proj]]

    def frozen(self, stages: int) -> Iterable[nn.Parameter]:
        """Return the parameters of the patch convolution, of ``ln_pre`` and of the first ``stages`` blocks."""
        blocks = list(self.get_submodule("transformer.resblocks").children())
        for layer in (self.conv1, self.ln_pre, *blocks[:stages]):
            yield from layer.parameters()


def interpolate_positions(embeddings: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Bring positional embeddings (1 + n * n, width), the class token's first, to a grid: (1 + height * width, width).

    Bicubic with aligned corners and without antialiasing, as ProGEO does it.
    """
    side = round((len(embeddings) - 1) ** 0.5)
    if (side, side) == grid:
        return embeddings
    square = embeddings[1:].T.reshape(1, -1, side, side)
    resized = F.interpolate(square.float(), grid, mode="bicubic", align_corners=True)
    return torch.cat([embeddings[:1], resized[0].flatten(1).T.to(embeddings.dtype)])


def _fit_positions(module: nn.Module, grid: tuple[int, int]) -> None:
    """Replace the parameter ``positional_embedding`` of a module by one for a grid."""
    old = cast(nn.Parameter, module.positional_embedding)
    module.positional_embedding = nn.Parameter(interpolate_positions(old.detach(), grid).clone(), old.requires_grad)


def _square_grid(count: int) -> tuple[int, int]:
    side = round((count - 1) ** 0.5)
    return side, side


class ClipTextTower(TextTower):
    """The text transformer of CLIP, run on as many tokens as a prompt has.

    Attention looks back only, and the feature is read at the end token: whatever would follow changes nothing.
    """

    def __init__(self, clip: Any) -> None:
        """Take over the text layers of an open_clip ``CLIP``."""
        super().__init__()
        self.token_embedding = clip.token_embedding
        self.positional_embedding = clip.positional_embedding
        self.transformer = clip.transformer
        self.ln_final = clip.ln_final
        self.text_projection = clip.text_projection
        self.register_buffer("attn_mask", clip.attn_mask, persistent=False)
        self.width = int(clip.token_embedding.embedding_dim)
        self.dimension = int(clip.text_projection.shape[1])
        self.longest = len(clip.positional_embedding)

    def tokenize(self, text: str) -> list[int]:
        """Return the start token, the byte pairs of ``text`` and the end token."""
        tokenizer = _tokenizer()
        return [tokenizer.sot_token_id, *tokenizer.encode(text), tokenizer.eot_token_id]

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the embeddings (..., width) of token ids (...), without their positions."""
        return cast(torch.Tensor, self.token_embedding(tokens))

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the projected outputs (B, dimension) at the last token of sequences (B, L, width)."""
        length = embeddings.shape[1]
        sequences = embeddings + self.positional_embedding[:length]
        mask = cast(torch.Tensor, self.attn_mask)[:length, :length]
        outputs = self.transformer(sequences, attn_mask=mask.to(sequences.dtype))
        features: torch.Tensor = self.ln_final(outputs[:, -1]) @ self.text_projection
        return features

    def words(self) -> dict[int, str]:
        """Return the byte pairs that end a word, by id; the vocabulary does not say which of them also begin it."""
        texts = {
            token: text.removesuffix("</w>") for token, text in _tokenizer().decoder.items() if text.endswith("</w>")
        }
        return {token: text for token, text in texts.items() if text.isascii() and text.isalpha()}


class ClipModel(ImageTextModel):
    """CLIP: an image tower and a text tower."""

    def __init__(self, name: str, clip: Any) -> None:
        """Take over the towers of an open_clip ``CLIP``."""
        super().__init__()
        self.name = name
        size = clip.visual.image_size
        self.preprocessing = Preprocessing(size if isinstance(size, int) else size[0])
        self.visual = cut_image_tower(clip)
        self.text = ClipTextTower(clip)

    def image_features(self, images: torch.Tensor) -> torch.Tensor:
        """Return CLIP's own image features (B, D), not normalised, of normalised images (B, 3, S, S) of CLIP's size."""
        return self.visual.pool(images)


def cut_image_tower(clip: Any) -> ClipResNet | ClipVisionTransformer:
    """Return the image tower of an open_clip ``CLIP`` as a backbone."""
    from open_clip.modified_resnet import ModifiedResNet

    if isinstance(clip.visual, ModifiedResNet):
        return ClipResNet(clip.visual)
    return ClipVisionTransformer(clip.visual)


@register_backbone(*ARCHITECTURES)
def describe_clip(name: str) -> BackboneEntry:
    """Describe a backbone of ProGEO, with OpenAI's weights."""
    return _describe(name, ARCHITECTURES[name], "openai", "MIT")


@register_backbone("open_clip:")
def describe_open_clip(name: str) -> BackboneEntry:
    """Describe any CLIP of open_clip, by ``open_clip:<name>:<pretrained>``.

    Raises:
        ProgeoError: open_clip has no such model or no such weights.
    """
    import open_clip

    _, architecture, pretrained = (*name.split(":"), "", "")[:3]
    if architecture not in open_clip.list_models():
        hint = suggest(architecture, open_clip.list_models())
        raise ProgeoError(f"open_clip has no model '{architecture}'{hint}. A backbone reads open_clip:RN50:openai.")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if pretrained and pretrained not in tags:
        raise ProgeoError(
            f"open_clip has no weights '{pretrained}' of {architecture}. It has: {', '.join(tags) or 'none'}."
        )
    return _describe(name, architecture, pretrained, "see the page of these weights")


def _describe(name: str, architecture: str, pretrained: str, licence: str) -> BackboneEntry:
    import open_clip

    configuration = open_clip.get_model_config(architecture) or {}
    is_known = all(configuration[tower].keys() <= settings for tower, settings in KNOWN_SETTINGS.items())
    if configuration.get("custom_text") or not is_known:
        raise ProgeoError(OTHER_TOWERS.format(name=name))
    is_resnet = isinstance(configuration["vision_cfg"]["layers"], list)
    size = configuration["vision_cfg"]["image_size"]
    published = open_clip.get_pretrained_cfg(architecture, pretrained) or {}

    def build(with_weights: bool) -> nn.Module:
        # OpenAI's networks, and some of others, use a GELU that the weights themselves do not tell from the usual one.
        quick_gelu = bool(configuration.get("quick_gelu") or published.get("quick_gelu"))
        if not with_weights:
            towers = {tower: configuration[tower] for tower in ("vision_cfg", "text_cfg")}
            model: nn.Module = open_clip.CLIP(configuration["embed_dim"], **towers, quick_gelu=quick_gelu)
            return model
        if not pretrained:
            raise ValueError(f"the name must say which, open_clip:{architecture}:PRETRAINED")
        model = open_clip.create_model(architecture, pretrained=pretrained, force_quick_gelu=quick_gelu)
        return model

    def frozen(backbone: nn.Module, stages: int = 2 if is_resnet else 6) -> Iterable[nn.Parameter]:
        assert isinstance(backbone, ClipResNet | ClipVisionTransformer)
        return backbone.frozen(stages)

    def create_image_text(weights: str) -> ClipModel:
        return ClipModel(name, build_network(entry, weights))

    entry = BackboneEntry(
        name=name,
        build=build,
        cut=cut_image_tower,
        shapes=_find_shapes,
        frozen=frozen,
        stages=lambda backbone: cast(ClipResNet | ClipVisionTransformer, backbone).stages(),
        local_stage=lambda backbone: "layer3" if is_resnet else None,
        preprocessing=Preprocessing(),
        own_preprocessing=Preprocessing(
            size if isinstance(size, int) else min(size),
            mean=tuple(published.get("mean") or open_clip.OPENAI_DATASET_MEAN),
            std=tuple(published.get("std") or open_clip.OPENAI_DATASET_STD),
            interpolation="bicubic",
        ),
        # What the image tower is called inside the whole network starts with visual.
        classifier=(*TEXT_TENSORS, *OTHER_TENSORS),
        source=f"open_clip, {architecture} with weights {pretrained or 'that its name leaves open'}",
        licence=licence,
        ignored=OPENAI_NUMBERS,
        default_weights=("default", "openai") if pretrained == "openai" else ("default",),
        freeze_option="freeze_cnn" if is_resnet else "freeze_trans",
        head="gem" if is_resnet else "identity",
        untrained_head=("gem", {"projection": False}) if is_resnet else ("cls", {}),
        create_image_text=create_image_text,
        text_dimension=int(configuration["embed_dim"]),
    )
    return entry


def _find_shapes(backbone: nn.Module) -> FeatureShapes:
    if isinstance(backbone, ClipVisionTransformer):
        width, dimension = backbone.proj.shape
        return FeatureShapes(int(width), int(width), int(dimension))
    channels = int(backbone.get_parameter("attnpool.positional_embedding").shape[1])
    return map_shapes(channels, local=channels // 2)


@cache
def _tokenizer() -> Any:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()
