"""The backbones of the published CosPlace code: torchvision networks, cut where the published checkpoints cut them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import nn

from progeo.errors import ProgeoError
from progeo.models.backbones.registry import BackboneEntry, Stages, register_backbone
from progeo.models.features import FeatureShapes, map_shapes
from progeo.pixels.recipe import Preprocessing

RESNET_CHANNELS = {"ResNet18": 512, "ResNet50": 2048, "ResNet101": 2048, "ResNet152": 2048}
EFFICIENTNET_SIZES = (224, 240, 288, 300, 380, 456, 528, 600)
EFFICIENTNET_LOCAL_CHANNELS = (112, 112, 120, 136, 160, 176, 200, 224)
EFFICIENTNET_CHANNELS = {
    f"EfficientNet_B{size}": channels for size, channels in enumerate((1280, 1280, 1408, 1536, 1792, 2048, 2304, 2560))
}


@register_backbone(*RESNET_CHANNELS)
def describe_resnet(name: str, layers: int = 4) -> BackboneEntry:
    """Describe a ResNet without average pooling and classifier; the last two layers are trained.

    Args:
        name: of ``RESNET_CHANNELS``.
        layers: how many of its four layers there are: MixVPR and BoQ take the map after the third.
    """
    if layers not in (1, 2, 3, 4):
        raise ProgeoError(f"{name} has 4 layers, so that `layers` is 1, 2, 3 or 4, not {layers!r}.")

    def cut(network: nn.Module) -> nn.Sequential:
        return nn.Sequential(*list(network.children())[: 4 + layers])

    def frozen(backbone: nn.Module) -> Iterable[nn.Parameter]:
        return nn.Sequential(*list(backbone.children())[:-2]).parameters()

    def stages(backbone: nn.Module) -> Stages:
        return [[layer] for layer in list(backbone.children())[-layers:]]

    channels = RESNET_CHANNELS[name] >> (4 - layers)
    classifier = ("fc.", *(f"layer{layer}." for layer in range(layers + 1, 5)))
    is_whole = layers == 4
    shapes = map_shapes(channels, local=channels // 2 if is_whole else None)
    return _entry(name, shapes, cut, frozen, stages, classifier, local_stage="6" if is_whole else None)  # layer3


@register_backbone("VGG16")
def describe_vgg(name: str) -> BackboneEntry:
    """Describe VGG16 without its last ReLU and max pooling; all but the last five layers stay frozen."""

    def cut(network: nn.Module) -> nn.Sequential:
        return nn.Sequential(*list(network.get_submodule("features").children())[:-2])

    def frozen(backbone: nn.Module) -> Iterable[nn.Parameter]:
        return nn.Sequential(*list(backbone.children())[:-5]).parameters()

    def stages(backbone: nn.Module) -> Stages:
        blocks: list[list[nn.Module]] = [[]]
        for layer in backbone.children():
            blocks[-1].append(layer)
            if isinstance(layer, nn.MaxPool2d):
                blocks.append([])
        return blocks

    return _entry(name, map_shapes(512), cut, frozen, stages, ("classifier.",))  # its map has stride 16 as it is


@register_backbone(*EFFICIENTNET_CHANNELS)
def describe_efficientnet(name: str) -> BackboneEntry:
    """Describe an EfficientNet without average pooling and classifier; blocks before 5 stay frozen."""

    def cut(network: nn.Module) -> nn.Sequential:
        return nn.Sequential(network.get_submodule("features"))

    def frozen(backbone: nn.Module) -> Iterable[nn.Parameter]:
        return nn.Sequential(*list(backbone.get_submodule("0").children())[:5]).parameters()

    def stages(backbone: nn.Module) -> Stages:
        *blocks, convolution = list(backbone.get_submodule("0").children())[1:]
        return [*([block] for block in blocks[:-1]), [blocks[-1], convolution]]

    number = list(EFFICIENTNET_CHANNELS).index(name)
    shapes = map_shapes(EFFICIENTNET_CHANNELS[name], local=EFFICIENTNET_LOCAL_CHANNELS[number])
    size = EFFICIENTNET_SIZES[number]
    return _entry(name, shapes, cut, frozen, stages, ("classifier.",), size, local_stage="0.5")


def _entry(
    name: str,
    shapes: FeatureShapes,
    cut: Callable[[nn.Module], nn.Module],
    frozen: Callable[[nn.Module], Iterable[nn.Parameter]],
    stages: Callable[[nn.Module], Stages],
    classifier: tuple[str, ...],
    image_size: int = 224,
    local_stage: str | None = None,
) -> BackboneEntry:
    def build(pretrained: bool) -> nn.Module:
        from torchvision import models

        network: nn.Module = models.get_model(name.lower())
        if pretrained:
            # The original weights; torchvision has retrained some since, and calls those DEFAULT.
            weights = models.get_model_weights(name.lower()).IMAGENET1K_V1
            network.load_state_dict(weights.get_state_dict(progress=True, check_hash=True, weights_only=True))
        return network

    return BackboneEntry(
        name=name,
        build=build,
        cut=cut,
        shapes=lambda backbone: shapes,
        frozen=frozen,
        stages=stages,
        local_stage=lambda backbone: local_stage,
        preprocessing=Preprocessing(),
        own_preprocessing=Preprocessing(image_size),
        classifier=classifier,
        source=f"torchvision, {name}_Weights.IMAGENET1K_V1",
        licence="BSD-3-Clause",
    )
